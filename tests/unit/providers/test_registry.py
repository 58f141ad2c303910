"""Which providers are asked for an answer, and what a configuration may hold."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from holdfast import errors, request
from holdfast.providers import registry, vendors


def config(name: str, kind: str = "openai_chat", *models: str) -> registry.ProviderConfig:
    own = kind in vendors.VENDORS and vendors.VENDORS[kind].base_url is None
    base_url = "https://own.example/v1" if own else None
    return registry.ProviderConfig(
        name=name, kind=kind, base_url=base_url, api_key="k", models=models
    )


REGISTRY = registry.Registry(
    [
        config("openai", "openai_chat", "gpt-*", "o[0-9]*"),
        config("router", "openrouter", "*/*"),
        config("fast", "groq", "gpt-oss-*", "llama*"),
    ]
)


def resolve(model: str, provider: str | None = None) -> tuple[str, str]:
    wanted = request.Request(model=model, provider=provider, messages=[])
    first = REGISTRY.targets(wanted)[0]
    found, name = first.provider, first.model
    return found.name, name


@pytest.mark.parametrize(
    ("model", "provider", "found"),
    [
        ("gpt-5", None, ("openai", "gpt-5")),
        ("o3-mini", None, ("openai", "o3-mini")),
        ("gpt-oss-20b", None, ("openai", "gpt-oss-20b")),
        ("llama-4", None, ("fast", "llama-4")),
        ("fast/llama-4", None, ("fast", "llama-4")),
        ("router/openai/gpt-5", None, ("router", "openai/gpt-5")),
        ("openai/gpt-5", None, ("openai", "gpt-5")),
        ("meta/llama-4", None, ("router", "meta/llama-4")),
        ("anything", "fast", ("fast", "anything")),
        ("openai/gpt-oss", "fast", ("fast", "openai/gpt-oss")),
        ("demo", None, ("demo", "demo")),
        ("demo-fast", None, ("demo", "demo-fast")),
        ("demo/anything", None, ("demo", "anything")),
    ],
)
def test_resolve(model: str, provider: str | None, found: tuple[str, str]) -> None:
    assert resolve(model, provider) == found


def test_an_unknown_provider_is_told_with_those_that_there_are() -> None:
    with pytest.raises(errors.UnknownProvider, match="'x'; there are openai, router, fast, demo"):
        resolve("m", "x")
    with pytest.raises(errors.UnknownProvider) as caught:
        resolve("m", "x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("model", ["claude", "", "openai/", "GPT-5", "x" * 10_000])
def test_an_unknown_model_is_told_with_the_patterns(model: str) -> None:
    if model == "openai/":
        assert resolve(model) == ("router", "openai/")
        return
    with pytest.raises(errors.UnknownModel, match=r"gpt-\* \(openai\)") as caught:
        resolve(model)
    assert len(str(caught.value)) < 500


def test_a_provider_without_a_model_is_no_request() -> None:
    with pytest.raises(errors.UnknownModel):
        resolve("", "openai")


# Targets


def route(name: str, *targets: str, models: tuple[str, ...] = ()) -> registry.RouteConfig:
    return registry.RouteConfig(name=name, targets=targets, models=models)


ROUTED = registry.Registry(
    [config("openai", "openai_chat", "gpt-*"), config("fast", "groq", "llama*")],
    routes=[
        route("smart", "openai/gpt-5", "fast/meta/llama-4", "demo/demo"),
        route("any-gpt", "fast/*", "openai/*", "fast/gpt-oss", models=("gpt-*", "o?", "meta/*")),
        route("o3", "demo/*"),
        route("gpt-4", "demo/*"),
        route("twice", "fast/*", "fast/twice", "demo/twice"),
    ],
)


def targets(
    model: str, provider: str | None = None, fallback: request.Fallback | None = None
) -> list[str]:
    wanted = request.Request(model=model, provider=provider, messages=[], fallback=fallback)
    found = ROUTED.targets(wanted)
    assert all(target.provider is ROUTED.get(target.provider.name) for target in found)
    return [f"{target.provider.name}/{target.model}" for target in found]


@pytest.mark.parametrize(
    ("model", "provider", "found"),
    [
        # A route by its name, whatever a provider's patterns say; its model may be the asked one.
        ("smart", None, ["openai/gpt-5", "fast/meta/llama-4", "demo/demo"]),
        ("any-gpt", None, ["fast/any-gpt", "openai/any-gpt", "fast/gpt-oss"]),
        # By its patterns; the first one in order wins, before one that is called so.
        ("gpt-5", None, ["fast/gpt-5", "openai/gpt-5", "fast/gpt-oss"]),
        ("gpt-4", None, ["fast/gpt-4", "openai/gpt-4", "fast/gpt-oss"]),
        ("o3", None, ["fast/o3", "openai/o3", "fast/gpt-oss"]),
        # A prefix that no provider has is a part of the model's name.
        ("meta/x", None, ["fast/meta/x", "openai/meta/x", "fast/gpt-oss"]),
        # None twice.
        ("gpt-oss", None, ["fast/gpt-oss", "openai/gpt-oss"]),
        ("twice", None, ["fast/twice", "demo/twice"]),
        # Who names a provider gets that one, and no route.
        ("gpt-5", "openai", ["openai/gpt-5"]),
        ("smart", "fast", ["fast/smart"]),
        ("openai/gpt-5", None, ["openai/gpt-5"]),
        ("openai/smart", None, ["openai/smart"]),
        # Without a route: who claims the model.
        ("llama-4", None, ["fast/llama-4"]),
        ("demo", None, ["demo/demo"]),
    ],
)
def test_targets(model: str, provider: str | None, found: list[str]) -> None:
    assert targets(model, provider) == found


NEXT = ["demo/a", "fast/meta/b"]


@pytest.mark.parametrize(
    ("model", "provider", "listed", "found"),
    [
        ("smart", None, NEXT, ["openai/gpt-5", *NEXT]),
        ("gpt-5", None, NEXT, ["fast/gpt-5", *NEXT]),
        ("openai/gpt-5", None, NEXT, ["openai/gpt-5", *NEXT]),
        ("gpt-5", "openai", NEXT, ["openai/gpt-5", *NEXT]),
        ("llama-4", None, NEXT, ["fast/llama-4", *NEXT]),
        ("smart", None, [], ["openai/gpt-5"]),
        ("smart", None, None, ["openai/gpt-5", "fast/meta/llama-4", "demo/demo"]),
        ("smart", None, ["openai/gpt-5", "demo/a", "demo/a"], ["openai/gpt-5", "demo/a"]),
        ("demo", None, ["demo/b"], ["demo/demo", "demo/b"]),
    ],
)
@pytest.mark.parametrize("mode", ["continue", "restart", "none", None])
def test_a_list_of_the_request_takes_the_place_of_all_but_the_first(
    model: str,
    provider: str | None,
    listed: list[str] | None,
    found: list[str],
    mode: Literal["continue", "restart", "none"] | None,
) -> None:
    assert targets(model, provider, request.Fallback(mode=mode, providers=listed)) == found


def test_an_unknown_provider_of_the_list_is_told_with_those_that_there_are() -> None:
    listed = request.Fallback(providers=["demo/a", "vendor/b"])
    with pytest.raises(errors.UnknownProvider, match="'vendor'; there are openai, fast, demo"):
        targets("smart", None, listed)


@pytest.mark.parametrize("item", ["", "demo", "demo/", "/a", "x" * 10_000])
def test_a_list_of_the_request_has_providers_and_models(item: str) -> None:
    told = r"`fallback\.providers`: .* is not of the form provider/model"
    with pytest.raises(errors.InvalidField, match=told) as caught:
        targets("smart", None, request.Fallback(providers=["demo/a", item]))
    assert len(str(caught.value)) < 300


def test_an_unknown_model_is_told_with_the_routes() -> None:
    told = (
        r"smart \(route smart\), any-gpt \(route any-gpt\), gpt-\* \(route any-gpt\), .*\(openai\)"
    )
    with pytest.raises(errors.UnknownModel, match=told):
        targets("claude")


def test_who_names_a_provider_and_no_model_goes_to_no_other() -> None:
    routes = [route("all", "demo/*", models=("*",))]
    everything = registry.Registry([config("openai", "openai_chat", "*")], routes=routes)
    for provider in ("openai", "demo"):
        with pytest.raises(errors.UnknownModel):
            everything.targets(request.Request(model="", provider=provider, messages=[]))


def test_routes_may_lead_to_every_provider_that_there_is() -> None:
    made = registry.Registry(routes=[route("r", "demo/*")])
    assert made.targets(request.Request(model="r", messages=[]))[0].provider.name == "demo"


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (("p/m", "vendor/m"), r"^routes\.r\.targets: 'vendor/m' names no provider .* p, demo\.$"),
        (("p",), r"^routes\.r\.targets: 'p' is not provider/model\.$"),
        (("p/",), r"^routes\.r\.targets: 'p/' is not provider/model\.$"),
        (("/m",), r"^routes\.r\.targets: '/m' names no provider "),
        ((), r"^routes\.r\.targets: nothing is given"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(targets: tuple[str, ...], told: str) -> None:
    with pytest.raises(errors.SettingsError, match=told):
        registry.Registry([config("p")], routes=[route("r", *targets)])


# Providers


def test_demo_is_always_there_unless_its_name_is_taken() -> None:
    assert registry.Registry().names == ("demo",)
    taken = registry.Registry([config("demo", "groq", "x"), config("play", "demo", "p-*")])
    assert taken.names == ("demo", "play")
    assert [taken.get(name).kind for name in taken.names] == ["openai_chat", "demo"]
    wanted = request.Request(model="p-1", messages=[])
    assert taken.targets(wanted)[0].provider.name == "play"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_can_be_built(kind: str) -> None:
    assert registry.Registry([config("p", kind)]).get("p").name == "p"


def test_a_kind_without_an_address_of_its_own_needs_one() -> None:
    with pytest.raises(errors.SettingsError, match=r"providers\.p\.base_url: .* openai_chat"):
        registry.Registry([registry.ProviderConfig(name="p", kind="openai_chat")])


def test_a_vendor_claims_its_own_models_unless_others_are_named() -> None:
    xai = registry.ProviderConfig(name="x", kind="xai", api_key="k")
    wanted = request.Request(model="grok-4", messages=[])
    assert registry.Registry([xai]).targets(wanted)[0].provider.name == "x"
    with pytest.raises(errors.UnknownModel):
        registry.Registry([msgspec.structs.replace(xai, models=("other",))]).targets(wanted)


def test_a_key_is_needed_at_the_vendors_own_address_alone() -> None:
    wanted = request.Request(model="m", messages=[request.Message("user", "Hi")])
    for url in (None, "https://api.openai.com/v1"):
        own = registry.ProviderConfig(name="p", kind="openai", base_url=url)
        with pytest.raises(errors.MissingKey, match="OPENAI_API_KEY"):
            registry.Registry([own]).get("p").prepare(wanted, "m")
    for config in (
        registry.ProviderConfig(name="p", kind="openai", base_url="http://127.0.0.1:9/v1"),
        registry.ProviderConfig(name="p", kind="ollama"),
    ):
        call = registry.Registry([config]).get("p").prepare(wanted, "m")
        assert "Authorization" not in dict(call.headers)


def test_bad_configurations() -> None:
    with pytest.raises(errors.SettingsError, match=r"providers\.p\.kind.*'nope'.*groq"):
        registry.Registry([config("p", "nope")])
    with pytest.raises(errors.SettingsError, match="called p"):
        registry.Registry([config("p"), config("p")])


@pytest.mark.parametrize("prefill", [True, False, None])
@pytest.mark.parametrize("kind", vendors.VENDORS)
def test_every_vendor_may_be_said_to_take_a_prefill(kind: str, prefill: bool | None) -> None:
    given = msgspec.structs.replace(config("p", kind), prefill=prefill)
    assert registry.Registry([given]).get("p").name == "p"


def test_the_demo_takes_no_prefill() -> None:
    plain = config("p", "demo")
    assert registry.Registry([msgspec.structs.replace(plain, prefill=False)]).names[0] == "p"
    with pytest.raises(errors.SettingsError, match=r"^providers\.p\.prefill: the kind demo "):
        registry.Registry([msgspec.structs.replace(plain, prefill=True)])


@pytest.mark.parametrize("kind", vendors.VENDORS)
def test_a_provider_whose_packets_are_listened_to_pads_as_it_does_by_itself(kind: str) -> None:
    wanted = request.Request(model="m", messages=[request.Message("user", "Hi")])
    plain = config("p", kind)
    bodies = []
    for given in (plain, msgspec.structs.replace(plain, padded=True)):
        call = registry.Registry([given]).get("p").prepare(wanted, "m")
        sent = msgspec.json.decode(call.body)
        bodies.append(sent)
    options = bodies[0].get("stream_options", {})
    assert ("include_obfuscation" in options) == (kind in ("openai", "openai_responses"))
    options.pop("include_obfuscation", None)
    assert {"stream_options": {}, **bodies[1]} == {"stream_options": {}, **bodies[0]}


KEEPS = ("openai_responses", "open_responses")


@pytest.mark.parametrize("kind", KEEPS)
def test_a_provider_may_keep_its_answers(kind: str) -> None:
    wanted = request.Request(model="m", messages=[request.Message("user", "Hi")])
    plain = config("p", kind)
    for given, stored in ((plain, False), (msgspec.structs.replace(plain, background=True), True)):
        call = registry.Registry([given]).get("p").prepare(wanted, "m")
        sent = msgspec.json.decode(call.body)
        assert (sent["store"], sent.get("background", False)) == (stored, stored)


@pytest.mark.parametrize("kind", [kind for kind in registry.KINDS if kind not in KEEPS])
def test_a_kind_that_keeps_no_answers_is_not_asked_to(kind: str) -> None:
    asked = msgspec.structs.replace(config("p", kind), background=True)
    told = rf"^providers\.p\.background: the kind {kind} .*: openai_responses, open_responses\.$"
    with pytest.raises(errors.SettingsError, match=told):
        registry.Registry([asked])


def test_a_key_is_not_shown() -> None:
    assert "k-secret" not in repr(
        registry.ProviderConfig(name="p", kind="groq", api_key="k-secret")
    )


async def test_close() -> None:
    made = registry.Registry()
    await made.close()
    await made.close()


def test_models_that_have_a_name_of_their_own() -> None:
    claims = [config("a", "openai_chat", "gpt-*", "gpt-5", "o[13]", "o?"), config("b", "groq", "x")]
    found = registry.Registry(
        [*claims, config("c", "groq", "x", "y")],
        routes=[registry.RouteConfig(name="r", targets=("a/z",), models=("y", "f-*"))],
    )
    assert list(found.models.items()) == [
        ("r", "holdfast"),
        ("y", "holdfast"),
        ("gpt-5", "a"),
        ("x", "b"),
        ("demo", "demo"),
    ]
