"""Who may do what, written out: every action with every set of scopes, and everybody with the
streams of everybody.

Strategy: the tables say what is right, cell by cell, so that no rule of the code is repeated here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import storage
from holdfast.access import principal
from holdfast.access.principal import Principal

STREAM, OTHER = "0" * 32, "1" * 32

SETS: tuple[tuple[principal.Scope, ...], ...] = (
    (),
    ("generate",),
    ("read",),
    ("admin",),
    ("generate", "read"),
    ("generate", "admin"),
    ("read", "admin"),
    ("generate", "read", "admin"),
    ("metrics",),
    ("generate", "metrics"),
    ("read", "metrics"),
    ("metrics", "admin"),
    ("generate", "read", "metrics"),
    ("generate", "metrics", "admin"),
    ("read", "metrics", "admin"),
    ("generate", "read", "metrics", "admin"),
)
"""All sets of scopes, in the order of the columns below."""

MAY: Mapping[principal.Action, str] = {
    #         none g r a gr ga ra gra, and each of these with m
    "create": "- x - - x x - x - x - - x x - x",
    "follow": "- - x x x x x x - - x x x x x x",
    "read": "  - - x x x x x x - - x x x x x x",
    "cancel": "- x - x x x x x - x - x x x x x",
    "destroy": "- x - x x x x x - x - x x x x x",
    "list": "  - - x x x x x x - - x x x x x x",
    "observe": "- - x x x x x x - - x x x x x x",
    "link": "  - - x x x x x x - - x x x x x x",
    "scrape": "- - - x - x x x x x x x x x x x",
    "oversee": "- - - x - x x x - - - x - x x x",
    "seal": "   - - - x - x x x - - - x - x x x",
    "public": "x x x x x x x x x x x x x x x x",
}

ORDINARY = frozenset(("generate", "read"))
ADMIN = frozenset(("admin",))
WHO: Mapping[str, Principal] = {
    "alice": Principal("acme", "alice"),
    "bob": Principal("acme", "bob"),
    "acme": Principal("acme"),
    "globex": Principal("globex"),
    "her namesake": Principal("globex", "alice"),
    "a user as a path": Principal("acme", "alice/x"),
    "an admin": Principal("ops", "root", ADMIN),
    "an admin's tenant": Principal("ops", scopes=ADMIN),
    "an admin of acme": Principal("acme", "alice", ADMIN | ORDINARY),
    "anybody": principal.ANYBODY,
    "nobody": Principal("", "alice"),
    "an admin of nobody": Principal("", scopes=ADMIN),
    "signed": Principal("", scopes=frozenset(("read",)), stream=STREAM),
    "signed for another": Principal("", scopes=frozenset(("read",)), stream=OTHER),
    "alice, signed": Principal("acme", "alice", stream=STREAM),
    "alice, signed for another": Principal("acme", "alice", stream=OTHER),
    "an admin, signed for another": Principal("ops", scopes=ADMIN, stream=OTHER),
    "anybody, signed for another": msgspec.structs.replace(principal.ANYBODY, stream=OTHER),
    "signed for no stream": Principal("acme", "alice", stream=""),
}

OWNERS = (
    "acme/alice",
    "acme/bob",
    "acme/",
    "acme/alice/x",
    "acme/Alice",
    "acme/alice2",
    "acmee/alice",
    "acm/alice",
    "globex/alice",
    "globex/",
    "",
    "acme",
)
"""Of the stream `STREAM`, in the order of the columns below."""

OWNS: Mapping[str, str] = {
    #                    alice bob acme alice/x Alice alice2 acmee acm glob/alice glob none no/
    "alice": "                     x - - - - - - - - - - -",
    "bob": "                       - x - - - - - - - - - -",
    "acme": "                      x x x x x x - - - - - -",
    "globex": "                    - - - - - - - - x x - -",
    "her namesake": "              - - - - - - - - x - - -",
    "a user as a path": "          - - - x - - - - - - - -",
    "an admin": "                  x x x x x x x x x x x x",
    "an admin's tenant": "         x x x x x x x x x x x x",
    "an admin of acme": "          x x x x x x x x x x x x",
    "anybody": "                   - - - - - - - - - - x -",
    "nobody": "                    - - - - - - - - - - x -",
    "an admin of nobody": "        - - - - - - - - - - x -",
    "signed": "                    x x x x x x x x x x x x",
    "signed for another": "        - - - - - - - - - - - -",
    "alice, signed": "             x x x x x x x x x x x x",
    "alice, signed for another": " - - - - - - - - - - - -",
    "an admin, signed for another": " - - - - - - - - - - - -",
    "anybody, signed for another": " - - - - - - - - - - - -",
    "signed for no stream": "      - - - - - - - - - - - -",
}


def cells(row: str, count: int) -> list[bool]:
    marks = row.split()
    assert len(marks) == count
    assert set(marks) <= {"x", "-"}
    return [mark == "x" for mark in marks]


def test_the_tables_are_complete() -> None:
    assert set(MAY) == set(get_args(principal.Action)) == set(principal.NEEDS)
    every = itertools.chain.from_iterable(
        itertools.combinations(principal.SCOPES, count) for count in range(5)
    )
    assert {frozenset(each) for each in SETS} == {frozenset(each) for each in every}
    assert len(SETS) == 16
    assert set(OWNS) == set(WHO)


@pytest.mark.parametrize("tenant", ["", "acme"])
@pytest.mark.parametrize("user", ["", "alice"])
@pytest.mark.parametrize("action", MAY)
def test_what_each_set_of_scopes_may(action: principal.Action, user: str, tenant: str) -> None:
    for scopes, right in zip(SETS, cells(MAY[action], len(SETS)), strict=True):
        asker = Principal(tenant, user, frozenset(scopes))
        assert principal.may(asker, action) is right, scopes


@pytest.mark.parametrize("scopes", SETS)
@pytest.mark.parametrize("action", MAY)
def test_who_is_let_in_for_one_stream_may_only_follow(
    action: principal.Action, scopes: tuple[str, ...]
) -> None:
    for tenant, user, stream in itertools.product(("", "acme"), ("", "alice"), (STREAM, "")):
        asker = Principal(tenant, user, frozenset(scopes), stream=stream)
        assert principal.may(asker, action) is (action in ("follow", "public"))


def test_a_scope_that_nobody_knows_opens_nothing() -> None:
    asker = Principal("acme", scopes=frozenset(("Admin", "administrator", "*", "", "read ")))
    for action in MAY:
        assert principal.may(asker, action) is (action == "public")
    assert not asker.sees_all


@pytest.mark.parametrize("name", WHO)
def test_whose_streams_are_theirs_to_see(name: str) -> None:
    for owner, right in zip(OWNERS, cells(OWNS[name], len(OWNERS)), strict=True):
        assert principal.owns(WHO[name], owner, STREAM) is right, owner


@pytest.mark.parametrize("name", WHO)
def test_a_list_shows_what_may_be_seen_and_nothing_else(name: str) -> None:
    """`owners` is what a search goes by: an owner, or a tenant as the log knows it."""
    asker = WHO[name]
    if asker.stream is not None:
        assert not principal.may(asker, "list")
        return
    exact, tenant = asker.owners
    assert exact is None or tenant == ""
    for owner, right in zip(OWNERS, cells(OWNS[name], len(OWNERS)), strict=True):
        listed = owner == exact if exact is not None else tenant in ("", storage.tenant_of(owner))
        assert listed is right, owner


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        ("alice", ("acme/alice", "")),
        ("acme", (None, "acme")),
        ("an admin", (None, "")),
        ("anybody", ("", "")),
        ("an admin of nobody", ("", "")),
    ],
)
def test_how_a_search_is_told(name: str, owners: tuple[str | None, str]) -> None:
    assert WHO[name].owners == owners


@pytest.mark.parametrize(
    ("asker", "owner"),
    [
        (Principal("acme", "alice"), "acme/alice"),
        (Principal("acme"), "acme/"),
        (Principal("acme", "a/b"), "acme/a/b"),
        (principal.ANYBODY, ""),
        (Principal("", "alice"), ""),
    ],
)
def test_what_headers_name_them(asker: Principal, owner: str) -> None:
    assert asker.owner == owner
    assert principal.parted(owner) == (asker.tenant, asker.user if asker.tenant else "")


NAMES = st.text("ab/.:@+- é\N{GRINNING FACE}", max_size=6)
TENANTS = st.text("ab.:@+-_9", min_size=1, max_size=4)


@given(tenant=TENANTS, user=NAMES)
def test_an_owner_is_parted_as_it_was_joined(tenant: str, user: str) -> None:
    assert principal.parted(Principal(tenant, user).owner) == (tenant, user)


@given(one=st.tuples(TENANTS, NAMES), other=st.tuples(TENANTS, NAMES))
def test_two_who_differ_never_see_each_other(one: tuple[str, str], other: tuple[str, str]) -> None:
    asker, owner = Principal(*one), Principal(*other)
    right = one == other or (one[0] == other[0] and not one[1])
    assert principal.owns(asker, owner.owner, STREAM) is right


@pytest.mark.parametrize(
    "tenant",
    ["a b", "a/b", "/", "a\n", "\n", "a\0", "é", "a" * 65, "a%2f", "a,b", "*", "\ud800", "\u0661"],
)
def test_a_tenant_of_another_shape_is_refused(tenant: str) -> None:
    with pytest.raises(ValueError, match="a tenant is 1 to 64"):
        Principal(tenant)


@pytest.mark.parametrize("tenant", ["a", "a" * 64, "Acme-1._:@+", ".", "..", "default"])
def test_a_tenant_of_this_shape_is_taken(tenant: str) -> None:
    assert Principal(tenant).tenant == tenant


@pytest.mark.parametrize(
    "user",
    [
        "a\n",
        "\r",
        "a\0b",
        "\x1b[0m",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "a" * 201,
        "\ud83d",
        "a\u202eb",
    ],
)
def test_a_user_that_cannot_be_printed_is_refused(user: str) -> None:
    """Half a surrogate pair too: no header and no id could be made for it. And what turns text
    around: a list would show another name."""
    with pytest.raises(ValueError, match="a user is at most 200"):
        Principal("acme", user)


@pytest.mark.parametrize("user", ["", " ", "a" * 200, "a/b", "\N{GRINNING FACE}" * 200])
def test_a_user_of_text_is_taken(user: str) -> None:
    assert Principal("acme", user).owner.encode().decode() == f"acme/{user}"


def test_values_do_not_change() -> None:
    things: Any = principal.ANYBODY, principal.NEEDS
    with pytest.raises(AttributeError):
        things[0].tenant = "acme"
    with pytest.raises(TypeError):
        things[1]["create"] = None


def test_what_is_usual_is_to_ask_and_to_read() -> None:
    usual = Principal("acme")
    assert usual.scopes == {"generate", "read"}
    assert (usual.user, usual.key, usual.expires_at, usual.stream) == ("", "", None, None)
