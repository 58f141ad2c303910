"""What a source gave: a tree of tables, in which every value has a name.

Strategy: a name is the tuple of the keys on the way to a value. A source keeps its tree as it
was written, knows how a complaint names a setting there, and where the value came from; so
what is wrong, and what holds, can be told by the place where somebody wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from holdfast.settings import tables

Name = tuple[str, ...]
Tree = dict[str, Any]


class Source:
    """A tree of tables.

    `spell` is how complaints name a setting of this source; `origin` is where its value came
    from (`command line`, a variable, a file), and the same as `spell` where nothing is said.
    """

    def __init__(
        self, tree: Tree, spell: Callable[[Name], str], origin: Callable[[Name], str] | None = None
    ) -> None:
        self.tree, self.spell, self.origin = tree, spell, origin or spell

    def get(self, name: Name) -> Any:
        """What stands at this name; None where nothing does."""
        node: Any = self.tree
        for part in name:
            node = node.get(part) if isinstance(node, dict) else None
        return node


def holder(sources: Sequence[Source], name: Name) -> Source | None:
    """The first source that has something at this name."""
    return next((source for source in sources if source.get(name) is not None), None)


def first(sources: Sequence[Source], name: Name) -> Any:
    """What stands at this name in the first source that has something there, or None."""
    source = holder(sources, name)
    return source.get(name) if source else None


def providers(sources: Sequence[Source]) -> list[str]:
    """The names of the providers, in the order of the last source, then of those before."""
    found: dict[str, None] = {}
    for source in reversed(sources):
        table = source.get(("providers",))
        found.update(dict.fromkeys(table if isinstance(table, dict) else ()))
    return list(found)


def leaves(tree: Tree, depth: int = 3) -> Iterator[Name]:
    """The names of all values and empty tables, no longer than the longest that may be."""
    for key, value in tree.items():
        if isinstance(value, dict) and value and depth > 1:
            yield from ((key, *rest) for rest in leaves(value, depth - 1))
        else:
            yield (key,)


def general(name: Name) -> str:
    """The name in `tables.KNOWN`, where every provider, route, plan and price is called `*`."""
    return ".".join((name[0], "*", *name[2:]) if name[0] in tables.NAMED and name[1:] else name)


def is_table(name: Name) -> bool:
    """Whether settings stand below this name."""
    return any(setting.startswith(general(name) + ".") for setting in tables.KNOWN)


def is_known(name: Name) -> bool:
    """Whether it is the name of a setting or of a table."""
    return general(name) in tables.KNOWN or is_table(name)


def dotted(name: Name) -> str:
    """For people; a part that is no plain word is quoted, on one line, and cut."""
    return ".".join(
        part if re.fullmatch(r"[\w-]{1,64}", part) else json.dumps(part[:64]) for part in name
    )
