"""The kinds of values that a setting may have, and how each is read, shown and explained.

Strategy: a value is kept in base units (seconds, bytes, a share of 1) and may be written as
people write it: "100ms", "8KiB", "5%". Each kind is an annotated type; a `Unit` or a sentence
among its metadata says what is accepted, so that one text serves the error messages and the
documentation. Patterns are the only checks: what a value means is for who uses it. `Table` is
what holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from holdfast.settings import urls

SOCKS = "socks_proxy"
"""The type of pydantic's error for a proxy that speaks SOCKS."""

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,20})?) ?([a-z%]*)")


class Unit:
    """A quantity with an optional suffix. `steps` go from the largest suffix to none; `whole`:
    only whole numbers are taken."""

    def __init__(self, what: str, hint: str, steps: Mapping[str, str], *, whole: bool) -> None:
        self.what, self.hint, self.whole = what, hint, whole
        self._steps = {suffix: Decimal(step) for suffix, step in steps.items()}
        self._folded = {suffix.casefold(): step for suffix, step in self._steps.items()}

    def parse(self, value: object) -> float:
        """The quantity in base units; an int where only whole numbers are taken.

        Raises ValueError; for a bool too, as it is read by its text.
        """
        # 0.00001 is 1e-05 as text.
        text = f"{Decimal(str(value)):f}" if isinstance(value, float) else str(value)
        found = _QUANTITY.fullmatch(text.strip().casefold())
        if found is None or found[2] not in self._folded:
            raise ValueError(f"not {self.what}")
        number = Decimal(found[1]) * self._folded[found[2]]
        if not self.whole:
            return float(number)
        if number != int(number):
            raise ValueError(f"not {self.what}")
        return int(number)

    @property
    def pattern(self) -> str:
        """A regular expression of ECMA-262 for what `parse` takes as text, but for blanks
        around it."""
        letters = [
            "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in suffix)
            for suffix in self._steps
            if suffix
        ]
        suffix = f" ?({'|'.join(letters)})?" if letters else ""
        return rf"^[0-9]{{1,15}}(\.[0-9]{{1,20}})?{suffix}$"

    def show(self, value: float) -> str:
        """The shortest exact way to write it."""
        number = Decimal(str(value))
        for suffix, step in self._steps.items():
            if number >= step and number % step == 0:
                return f"{int(number / step)}{suffix}"
        return f"{number.normalize():f}"


COUNT = Unit("a whole number", "", {"": "1"}, whole=True)
DURATION = Unit(
    "a duration",
    ", such as 100ms, 15s, 5m, 24h or 7d (a plain number is seconds)",
    {"d": "86400", "h": "3600", "m": "60", "s": "1", "ms": "0.001", "": "1"},
    whole=False,
)
SIZE = Unit(
    "a size",
    ", such as 512B, 8KiB or 64MiB (a plain number is bytes)",
    {"GiB": str(1024**3), "MiB": str(1024**2), "KiB": "1024", "B": "1", "": "1"},
    whole=True,
)
AMOUNT = Unit("an amount", ", such as 2.5", {"": "1"}, whole=False)
SHARE = Unit("a share", ", such as 5% or 0.05", {"%": "0.01", "": "1"}, whole=False)

Count = Annotated[int, BeforeValidator(COUNT.parse), COUNT]
Duration = Annotated[float, BeforeValidator(DURATION.parse), DURATION]
Size = Annotated[int, BeforeValidator(SIZE.parse), SIZE]
Cost = Annotated[float, BeforeValidator(AMOUNT.parse), AMOUNT]
Share = Annotated[float, BeforeValidator(SHARE.parse), SHARE]


def _listed(value: object) -> object:
    """A list may be one text with commas: so it is written in the environment."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _none(value: str) -> str | None:
    """Empty is none: TOML has no other word for it."""
    return value or None


def _key(value: object) -> object:
    """A key often comes from a file, with its line end; empty is none."""
    if isinstance(value, SecretStr) or value is None:
        return value
    if isinstance(value, str) and re.fullmatch(r"[!-~]{0,4096}", value.strip()):
        return value.strip() or None
    raise ValueError("not a key")


# User and password as %-escapes, so that the host is what follows the only @.
_PROXY = re.compile(
    r"(?i:https?)://(?:[!\"$-.0->A-~]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)


def _proxy(value: object) -> object:
    """The URL of a proxy, which may hold a password; empty is none."""
    if isinstance(value, SecretStr) or value is None:
        return value
    url = value.strip() if isinstance(value, str) else ""
    if isinstance(value, str) and not url:
        return None
    if re.match(r"socks[0-9a-z]*:", url, re.IGNORECASE):
        raise PydanticCustomError(SOCKS, "a SOCKS proxy")
    found = _PROXY.fullmatch(url) if len(url) <= 4096 else None
    if found is None or len(found["host"]) > 253 or not 1 <= int(found["port"] or 1) <= 65535:
        raise ValueError("not a proxy")
    return url


class Masked:
    """The mark of a URL that may hold a password: it is shown without."""


def _masked(value: str | None) -> str | None:
    return None if value is None else urls.masked(value)


MASKED: tuple[Any, ...] = (Masked(), PlainSerializer(_masked))
"""The marks of such a URL: it is whole for who reads the setting, and in no dump."""


def _some(least: int, most: int) -> tuple[Any, ...]:
    """The marks of a list with so many items."""
    return NoDecode, BeforeValidator(_listed), Field(min_length=least or None, max_length=most)


NAME = r"[a-z0-9]+([_-][a-z0-9]+)*"
"""The pattern of a name that people give to a table: to a provider, a route, a plan, a price."""

_URL = r"https?://[^/@\s?#]+(/[^\s?#]*)?"
# No user and no password: what has neither can be shown.
_STORE = r"[a-z][a-z0-9+]*://[^/@\s]*(/[^\x00-\x1f]*)?"
_REDIS = r"(redis|rediss|valkey|valkeys)(\+sentinel)?://([^/?#\s@]*@)?[^/?#\s@]+(/[^?#\s]*)?"
_POSTGRES = r"postgres(ql)?://[^/?#\s]+/[^/?#\s]+(\?[^#\s]*)?"

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:%-]{1,253}$"), "a host name or an address"]
Origins = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/@\s?#*]+)$")], ...],
    *_some(0, 100),
    "a list of at most 100 origins such as https://app.example, or *",
]
LogUrl = Annotated[
    str,
    Field(pattern=f"^({_REDIS}|{_STORE})$", max_length=4096),
    *MASKED,
    "a URL such as sqlite:///holdfast.db, redis://USER:PASSWORD@HOST or memory://",
]
ArchiveUrl = Annotated[
    Annotated[
        str,
        Field(pattern=f"^({_POSTGRES}|{_STORE})?$", max_length=4096),
        AfterValidator(_none),
    ]
    | None,
    *MASKED,
    "a URL such as sqlite:///holdfast-archive.db, postgresql://USER:PASSWORD@HOST/DATABASE or "
    "memory://",
]
KeysUrl = Annotated[
    Annotated[str, Field(pattern=f"^({_URL})?$", max_length=4096), AfterValidator(_none)] | None,
    "a URL such as https://login.example/.well-known/jwks.json, without user, password and query",
]
Word = Annotated[
    Annotated[str, Field(pattern=r"^[!-~]{0,1000}$"), AfterValidator(_none)] | None,
    "a text of at most 1000 printable ASCII characters, without blanks",
]
Model = Annotated[
    Annotated[str, Field(pattern=r"^[!-~]{0,321}$"), AfterValidator(_none)] | None,
    "a model, or provider/model",
]
Claim = Annotated[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{0,200}$"), AfterValidator(_none)] | None,
    "the name of a claim such as org_id or https://app.example/tenant",
]
Algorithms = Annotated[
    tuple[Annotated[str, Field(pattern=r"^((RS|PS|ES)(256|384|512)|EdDSA)$")], ...],
    *_some(1, 10),
    "a list of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA",
]
Scopes = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(generate|read|metrics|admin)$")], ...],
    *_some(1, 4),
    "a list of generate, read, metrics and admin",
]
Tenants = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@+*?-]{1,64}$")], ...],
    *_some(1, 1000),
    "a list of 1 to 1000 tenants, where * stands for any text and ? for any character",
]
BaseUrl = Annotated[
    Annotated[str, Field(pattern=f"^{_URL}$"), AfterValidator(lambda url: url.rstrip("/"))] | None,
    "a URL such as https://api.openai.com/v1, without user, password and query",
]
Kind = Annotated[
    str, Field(pattern=r"^[a-z0-9_]{1,64}$"), "a kind such as openai, openai_chat or demo"
]
_Model = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/@*?\[\]!+-]+$", max_length=200)]
Models = Annotated[
    tuple[_Model, ...],
    *_some(0, 100),
    "a list of at most 100 model names, where * stands for any text and ? for any character",
]
SomeModels = Annotated[
    tuple[_Model, ...],
    *_some(1, 100),
    "a list of 1 to 100 model names, where * stands for any text and ? for any character",
]
TableName = Annotated[str, Field(pattern=f"^{NAME}$", max_length=64)]
Targets = Annotated[
    tuple[
        Annotated[str, Field(pattern=rf"^{NAME}/(\*|[A-Za-z0-9_.:/@+-]+)$", max_length=321)], ...
    ],
    *_some(1, 8),
    "a list of 1 to 8 targets such as openai/gpt-5, or openai/* for the model that was asked for",
]
Text = Annotated[
    # On one line, so that it can be shown; of blanks alone it would be refused by providers.
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$", max_length=1000),
    "a text of at most 1000 characters, on one line and not blank",
]
Flag = Annotated[bool | None, "true or false"]
Variable = Annotated[
    Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None,
    "the name of an environment variable, in upper case",
]
Key = Annotated[SecretStr | None, BeforeValidator(_key), "a key of printable ASCII"]
Certificates = Annotated[
    Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$", max_length=4096), AfterValidator(_none)]
    | None,
    "the path of a file",
]
Proxy = Annotated[
    SecretStr | None,
    BeforeValidator(_proxy),
    WithJsonSchema({"type": "string", "pattern": r"^([Hh][Tt][Tt][Pp][Ss]?://\S+)?$"}),
    "a URL such as http://proxy.example:3128, with http:// or https://",
]
Hosts = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9_.:*%/\[\]-]+)$", max_length=253)], ...],
    *_some(0, 1000),
    "a list of at most 1000 hosts, domains, addresses and networks, or *",
]


_T = TypeVar("_T")
Named = Annotated[Mapping[TableName, _T], AfterValidator(MappingProxyType), PlainSerializer(dict)]
"""Tables of one kind by their names."""


class Table(BaseModel):
    """What all tables have in common: it configures, and does nothing."""

    # What is said below a setting is read where it is shown (`schema.meanings`): pydantic would
    # take each table's source apart at every start.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """A URL that is masked is so here too."""
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            hidden = field is not None and value is not None and _is_masked(field)
            yield name, urls.masked(value) if hidden else value


def unit(field: FieldInfo) -> Unit | None:
    """The unit of a setting that is a quantity."""
    return next((mark for mark in field.metadata if isinstance(mark, Unit)), None)


def _is_masked(field: FieldInfo) -> bool:
    return any(isinstance(mark, Masked) for mark in field.metadata)


def limits(field: FieldInfo) -> tuple[float, float]:
    """The lowest and the highest value of a setting that is a quantity, in base units."""
    low = next(mark.ge for mark in field.metadata if hasattr(mark, "ge"))
    high = next(mark.le for mark in field.metadata if hasattr(mark, "le"))
    return low, high


def accepted(field: FieldInfo) -> str:
    """What a setting takes, as the end of a sentence."""
    quantity = unit(field)
    if quantity is not None:
        low, high = map(quantity.show, limits(field))
        return f"{quantity.what} from {low} to {high}"
    if field.annotation is bool:
        return "true or false"
    text = next((mark for mark in field.metadata if isinstance(mark, str)), None)
    return text or " or ".join(get_args(field.annotation))


def explained(field: FieldInfo) -> str:
    """The same, with examples of how a quantity may be written."""
    quantity = unit(field)
    return accepted(field) + (quantity.hint if quantity else "")


def shown(field: FieldInfo, value: Any) -> str:
    """A value as people write it: `none` for None and for an empty list, `set` for a secret."""
    quantity = unit(field)
    if quantity is not None:
        return quantity.show(value)
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        return "set"
    if value is not None and _is_masked(field):
        return urls.masked(value)
    return "none" if value is None else str(value)
