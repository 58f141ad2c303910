"""Which provider answers a request, and what a configuration may hold."""

from __future__ import annotations

import pytest

from holdfast import errors, request
from holdfast.providers import registry


def config(name: str, kind: str = "openai_chat", *models: str) -> registry.ProviderConfig:
    return registry.ProviderConfig(name=name, kind=kind, api_key="k", models=models)


REGISTRY = registry.Registry(
    [
        config("openai", "openai_chat", "gpt-*", "o[0-9]*"),
        config("router", "openrouter", "*/*"),
        config("fast", "groq", "gpt-oss-*", "llama*"),
    ]
)


def resolve(model: str, provider: str | None = None) -> tuple[str, str]:
    wanted = request.Request(model=model, provider=provider, messages=[])
    found, name = REGISTRY.resolve(wanted)
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


def test_demo_is_always_there_unless_its_name_is_taken() -> None:
    assert registry.Registry().names == ("demo",)
    taken = registry.Registry([config("demo", "groq", "x"), config("play", "demo", "p-*")])
    assert taken.names == ("demo", "play")
    assert [taken.get(name).kind for name in taken.names] == ["openai_chat", "demo"]
    wanted = request.Request(model="p-1", messages=[])
    assert taken.resolve(wanted)[0].name == "play"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_can_be_built(kind: str) -> None:
    assert registry.Registry([config("p", kind)]).get("p").name == "p"


@pytest.mark.parametrize("kind", registry.NOT_YET)
def test_kinds_that_are_not_built_say_so(kind: str) -> None:
    with pytest.raises(errors.NotYet, match=kind):
        registry.Registry([config("p", kind)])


def test_bad_configurations() -> None:
    with pytest.raises(errors.SettingsError, match=r"providers\.p\.kind.*'nope'.*groq"):
        registry.Registry([config("p", "nope")])
    with pytest.raises(errors.SettingsError, match="called p"):
        registry.Registry([config("p"), config("p")])


def test_a_key_is_not_shown() -> None:
    assert "k-secret" not in repr(
        registry.ProviderConfig(name="p", kind="groq", api_key="k-secret")
    )


async def test_close() -> None:
    made = registry.Registry()
    await made.close()
    await made.close()
