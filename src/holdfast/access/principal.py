"""Who somebody is, and what they may do: values, and one pure decision.

Strategy: every route names an action, every action needs a scope, and a stream is somebody's:
`may` is the only place where these meet. Whoever has no tenant came to a node without keys, where
everybody is the same principal. A principal without a user is the tenant itself and sees all of
its users' streams; the scope `admin` sees everybody's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import msgspec

Scope = Literal["generate", "read", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL: tuple[Scope, ...] = ("generate", "read")
"""What somebody may do of whom nothing else is said."""

Action = Literal[
    "create",
    "follow",
    "read",
    "cancel",
    "destroy",
    "list",
    "observe",
    "link",
    "scrape",
    "oversee",
    "seal",
    "public",
]
"""`follow` is to read a stream's events, `read` to see what has become of it, `observe` to see who
reads, `link` to make a signed URL, `scrape` to collect a node's counts, in which nothing is of one
stream, `oversee` to see what all streams come to, `seal` to see and change what they are sealed by;
`public` is for everybody."""

NEEDS: Mapping[Action, Scope | None] = MappingProxyType(
    {
        "create": "generate",
        "follow": "read",
        "read": "read",
        "cancel": "generate",
        "destroy": "generate",
        "list": "read",
        "observe": "read",
        "link": "read",
        "scrape": "metrics",
        "oversee": "admin",
        "seal": "admin",
        "public": None,
    }
)
"""The scope that each action needs; `admin` has all but the right to ask for answers."""

_TENANT = re.compile(r"[A-Za-z0-9._:@+-]{1,64}", re.ASCII)

MAX_USER = 200  # characters


def is_tenant(text: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT.fullmatch(text) is not None


def is_user(text: str) -> bool:
    """Whether a user may be called so."""
    return 0 < len(text) <= MAX_USER and text.isprintable()


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who calls. `key` is what let them in: `key:ID`, `jwt:KID`, or `hook:`;
    `expires_at` (seconds since 1970) when that ends by itself. With `stream`, whoever they are,
    they may read this one's events and nothing else. Raises ValueError for a name of another
    shape."""

    tenant: str
    user: str = ""
    scopes: frozenset[str] = frozenset(USUAL)
    key: str = ""
    expires_at: float | None = None
    stream: str | None = None

    def __post_init__(self) -> None:
        if self.tenant and not is_tenant(self.tenant):
            raise ValueError("a tenant is 1 to 64 letters, digits or ._:@+-")
        if self.user and not is_user(self.user):
            raise ValueError(f"a user is at most {MAX_USER} printable characters")

    @property
    def owner(self) -> str:
        """As what their streams' headers name them; see `parted`."""
        return f"{self.tenant}/{self.user}" if self.tenant else ""

    @property
    def sees_all(self) -> bool:
        """Everybody's streams; not those who need no key: what has an owner is not theirs."""
        return bool(self.tenant) and "admin" in self.scopes

    @property
    def owners(self) -> tuple[str | None, str]:
        """Whose streams they see: an owner's, or where that is None a tenant's, or where that is
        empty everybody's."""
        if self.sees_all:
            return None, ""
        whole = self.user or not self.tenant
        return (self.owner, "") if whole else (None, self.tenant)


ANYBODY = Principal("", scopes=frozenset(SCOPES))
"""Everybody, on a node without keys."""


def parted(owner: str) -> tuple[str, str]:
    """The tenant and the user of an owner's name."""
    tenant, _, user = owner.partition("/")
    return tenant, user


def may(principal: Principal, action: Action) -> bool:
    """Whether this principal may do such a thing at all."""
    needed = NEEDS[action]
    if needed is None:
        return True
    if principal.stream is not None:
        return action == "follow"
    return needed in principal.scopes or ("admin" in principal.scopes and action != "create")


def owns(principal: Principal, owner: str, stream: str) -> bool:
    """Whether a stream of this owner is theirs to see."""
    if principal.stream is not None:
        return principal.stream == stream
    exact, tenant = principal.owners
    return exact in (None, owner) and (not tenant or owner.startswith(f"{tenant}/"))
