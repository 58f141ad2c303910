"""Whom a stream may ask: the node's settings, the request's own wish, and what was there before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.producing import breaker, course, fallback, routing
from holdfast.providers import registry

POLICY = fallback.Policy(mode="restart", otherwise="error", attempts=2)
CONFIGS = [registry.ProviderConfig(name=name, kind="demo", models=("m",)) for name in "ab"]
ROUTES = [registry.RouteConfig(name="both", targets=("a/x", "b/y"))]
USER = request.Message("user", "Why?")
ROUTING = routing.Routing(registry.Registry(CONFIGS, routes=ROUTES), POLICY, "⏵")


def wanted(model: str, **more: Any) -> request.Request:
    return msgspec.structs.replace(request.Request(model, []), **more)


def begun(by: routing.Routing, asked: request.Request) -> course.Route:
    return by.begin(asked, breaker.Breakers(breaker.Limits(1, 1.0)), 0.0)[0]


def test_a_new_stream_goes_by_its_route() -> None:
    found = begun(ROUTING, wanted("both"))
    assert [target.name for target in found.targets] == ["a/x", "b/y"]
    assert (found.first, found.policy, found.instruction) == ("a/x", POLICY, "⏵")
    with pytest.raises(errors.UnknownModel):
        begun(ROUTING, wanted("nothing"))


@pytest.mark.parametrize(
    ("wish", "mode", "otherwise"),
    [
        (request.Fallback(), "restart", "error"),
        (request.Fallback(mode="none"), "none", "error"),
        (request.Fallback(otherwise="restart"), "restart", "restart"),
    ],
)
def test_a_request_may_have_it_otherwise(wish: request.Fallback, mode: str, otherwise: str) -> None:
    policy = begun(ROUTING, wanted("m", fallback=wish)).policy
    assert (policy.mode, policy.otherwise, policy.attempts) == (mode, otherwise, 2)


@pytest.mark.parametrize(
    ("model", "name", "names", "at"),
    [
        ("both", "a/x", ["a/x", "b/y"], 0),
        ("both", "b/y", ["a/x", "b/y"], 1),
        ("both", "a/old", ["a/old", "a/x", "b/y"], 0),
        ("gone", "b/y", ["b/y"], 0),
        ("both", "gone/x", ["a/x", "b/y"], None),
        ("gone", "gone/x", [], None),
    ],
)
def test_one_that_is_taken_over_stays_with_whom_it_was_asked_of_last(
    model: str, name: str, names: list[str], at: int | None
) -> None:
    found, place = ROUTING.again(wanted(model), "first/z", name)
    assert [target.name for target in found.targets] == names
    assert (place, found.first) == (at, "first/z")


def test_whose_parts_stand_in_the_conversation_is_told_by_the_routes_own_first() -> None:
    configs = [CONFIGS[0], registry.ProviderConfig(name="b", kind="openai", api_key="k")]
    mixed = routing.Routing(registry.Registry(configs, routes=ROUTES), POLICY, "⏵")
    assert begun(mixed, wanted("both")).kind == "demo"
    found, at = mixed.again(wanted("both"), "a/x", "b/old")
    assert (found.targets[0].provider.kind, found.kind, at) == ("openai_chat", "demo", 0)
    assert mixed.again(wanted("gone"), "a/x", "b/y")[0].kind == ""


# A request that was written for another API


def mixed(strict: bool) -> routing.Routing:
    configs = [
        registry.ProviderConfig(name="a", kind="anthropic", api_key="k"),
        registry.ProviderConfig(name="b", kind="openai", api_key="k"),
    ]
    return routing.Routing(registry.Registry(configs, routes=ROUTES), POLICY, "⏵", strict=strict)


def test_whose_parts_stand_in_a_foreign_conversation_is_told_by_its_own_format() -> None:
    asked = wanted("both", messages=[USER], foreign=request.Foreign("openai_chat"))
    assert begun(mixed(True), asked).kind == "openai_chat"
    assert mixed(True).again(asked, "a/x", "b/y")[0].kind == "openai_chat"
    # Also where nothing of the route is left.
    gone = msgspec.structs.replace(asked, model="gone")
    assert mixed(True).again(gone, "gone/x", "gone/x")[0].kind == "openai_chat"


def test_who_cannot_be_told_all_of_it_is_passed_over() -> None:
    foreign = request.Foreign("openai_chat", {"seed": 7})
    asked = wanted("both", messages=[USER], foreign=foreign)
    breakers = breaker.Breakers(breaker.Limits(1, 1.0))
    route, call = mixed(True).begin(asked, breakers, 0.0)
    assert (call.target, route.first, route.strict) == (1, "b/y", True)
    assert msgspec.json.decode(call.request.body)["seed"] == 7
    route, call = mixed(False).begin(asked, breakers, 0.0)
    assert (call.target, route.first, route.strict) == (0, "a/x", False)
    assert "seed" not in msgspec.json.decode(call.request.body)


def test_a_field_that_nobody_can_be_told_is_refused_by_its_name() -> None:
    foreign = request.Foreign("openai_responses", {"seed": 7, "user": "u"}, ["user"])
    asked = wanted("both", messages=[USER], foreign=foreign)
    with pytest.raises(errors.InvalidField, match=r"^seed: the provider a "):
        begun(mixed(True), asked)
