"""The names that other programs give to the same things: HTTPS_PROXY, OPENAI_API_KEY.

Strategy: what such variables say becomes one more source, the weakest above the defaults. It
has a proxy where no setting names one; a vendor's key only for a provider that says nothing of
keys and addresses itself, so that no key goes to a host that its owner did not mean; and a
whole provider where there is a key for it and no other provider is of its kind.

The names of proxies and their order are curl's (https://curl.se/docs/manpage.html, under
ENVIRONMENT), with two differences: HTTP_PROXY in capitals is read, except in a CGI program,
where it is a header of the request (https://httpoxy.org); and NO_PROXY may have spaces
between its items as well as commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from holdfast.settings import trees


class Usual(msgspec.Struct, frozen=True):
    """The variables that usually hold the key and the base URL of one kind of provider.

    Of several names for the key the first that is set wins. None: there is no such name.
    """

    api_key: tuple[str, ...] = ()
    base_url: str | None = None


class _Found:
    """A tree of values, and the variable that each is from."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.tree: trees.Tree = {}
        self._variables: dict[trees.Name, str] = {}

    def variable(self, names: Iterable[str]) -> str | None:
        """The first of these variables that is set; an empty one is not."""
        return next((name for name in names if self._environ.get(name, "").strip()), None)

    def take(self, name: trees.Name, variables: Iterable[str]) -> None:
        """Puts the value of the first variable that is set at this name."""
        variable = self.variable(variables)
        if variable is not None:
            self.put(name, variable, self._environ[variable])

    def put(self, name: trees.Name, variable: str, value: str) -> None:
        """Puts a value, which is from this variable, at this name."""
        node = self.tree
        for part in name[:-1]:
            node = node.setdefault(part, {})
        node[name[-1]] = value
        self._variables[name] = variable

    def spell(self, name: trees.Name) -> str:
        return self._variables.get(name) or trees.dotted(name)


def source(
    usual: Mapping[str, Usual], given: Sequence[trees.Source], environ: Mapping[str, str]
) -> trees.Source:
    """What the usual variables add to the sources that are given."""
    found = _Found(environ)
    _proxies(found, given, environ)
    _providers(found, usual, given)
    return trees.Source(found.tree, found.spell)


def proxies(environ: Mapping[str, str], scheme: str) -> trees.Source:
    """What they say of the way to servers at `http` or at `https`, and nothing else."""
    found = _Found(environ)
    _proxies(found, (), environ, (scheme,))
    return trees.Source(found.tree, found.spell)


def _proxies(
    found: _Found,
    given: Sequence[trees.Source],
    environ: Mapping[str, str],
    schemes: Sequence[str] = ("https", "http"),
) -> None:
    for scheme in schemes:
        key = f"{scheme}_proxy"
        capitals = scheme == "https" or not environ.get("REQUEST_METHOD")
        names = (key, key.upper()) if capitals else (key,)
        variable = found.variable((*names, "all_proxy", "ALL_PROXY"))
        if variable is not None:
            url = environ[variable].strip()
            # So written everywhere but in Holdfast's own settings.
            url = url if "://" in url else f"http://{url}"
            found.put(("network", key), variable, url)
    variable = found.variable(("no_proxy", "NO_PROXY"))
    # Other programs take other forms there; where there is no proxy, they are no concern of ours.
    weighed = (*given, trees.Source(found.tree, found.spell))
    used = any(trees.first(weighed, ("network", f"{scheme}_proxy")) for scheme in schemes)
    if variable is not None and used:
        hosts = re.sub(r"\s+", ",", environ[variable])
        found.put(("network", "no_proxy"), variable, hosts)


def _providers(found: _Found, usual: Mapping[str, Usual], given: Sequence[trees.Source]) -> None:
    configured = trees.providers(given)
    kinds = set()
    for provider in configured:
        kind = trees.first(given, ("providers", provider, "kind"))
        kinds.add(kind if isinstance(kind, str) else None)
        own = ("api_key", "api_key_env", "base_url")
        if all(trees.first(given, ("providers", provider, key)) is None for key in own):
            _fill(found, provider, usual.get(kind) if isinstance(kind, str) else None)
    for kind, names in usual.items():
        variable = found.variable(names.api_key)
        if variable is not None and kind not in kinds and kind not in configured:
            found.put(("providers", kind, "kind"), variable, kind)
            _fill(found, kind, names)


def _fill(found: _Found, provider: str, names: Usual | None) -> None:
    if names is not None:
        found.take(("providers", provider, "api_key"), names.api_key)
        found.take(("providers", provider, "base_url"), filter(None, (names.base_url,)))
