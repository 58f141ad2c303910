"""What a vendor's own client reads in a recorded answer, beside what our translator reads.

Strategy: the recorded bytes are played over HTTP to the stock client of their format, which
accumulates them with its own code, and are fed to the translator that our registry gives. Both
sides become the same plain words, so that whoever compares needs to know neither.

Each client is asked for what a caller of it would ask: the accumulated answer after the last
event, or the one so far where it raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from tests.integration.stock import for_anthropic, for_google, for_openai, words

from holdfast import answer, events, request
from holdfast.providers import registry
from holdfast.testing import recordings

KINDS = {
    "chat": "openai",
    "openai-responses": "openai_responses",
    "anthropic": "anthropic",
    "google": "google",
    "google-interactions": "google_interactions",
}
"""The kind of provider that speaks a recording's protocol."""

LEFT_OUT = ("http-error", "cohere-native", "?")
"""Refusals, which no client accumulates, and formats that are not ours."""


def kind_of(recording: recordings.Recording) -> str | None:
    """Our kind for a recorded stream, None for what is left out. Raises `LookupError` for a
    protocol that is not known here."""
    protocol = str(recording.expected.get("protocol"))
    if protocol not in KINDS and protocol not in LEFT_OUT:
        raise LookupError(
            f"{recording.kind}/{recording.name}: its protocol {protocol} is neither in KINDS nor "
            "in LEFT_OUT of tests/integration/stock/sides.py"
        )
    return KINDS.get(protocol)


def ours(recording: recordings.Recording, choices: int) -> words.Values:
    """What our translator makes of the recording."""
    kind = kind_of(recording)
    assert kind is not None
    config = registry.ProviderConfig(name="p", kind=kind, api_key="k")
    asked = request.Request("m", [request.Message("user", words.ASKED)], n=choices)
    translator = registry.Registry([config]).get("p").translator(asked)
    bodies = translator.feed(recording.wire)
    if not translator.done and translator.error is None:
        bodies += translator.end()
    told = folded(bodies)
    choice = told.choice(0)
    return words.values(
        **{
            "text": choice.content,
            "reasoning": choice.reasoning,
            "refusal": choice.refusal,
            "others": [told.choice(number).content for number in range(1, choices)],
            "finish": choice.provider_finish_reason,
            "usage": told.usage and [told.usage.input_tokens, told.usage.output_tokens],
            "error": "error" if translator.error is not None else None,
            "tool calls": [
                [call.name, words.arguments(call.arguments)]
                for _, call in sorted(choice.tool_calls.items())
            ],
        }
    )


def folded(bodies: Iterable[events.Body]) -> answer.Answer:
    """The answer that these events make."""
    told = answer.Answer()
    for number, body in enumerate(bodies, 1):
        drafted = events.draft(body)
        told.add(events.Event(drafted.kind, drafted.data, 1, number, 0))
    return told


async def theirs(recording: recordings.Recording, url: str, choices: int) -> words.Values:
    """What the stock client makes of the recording, which `url` plays."""
    return await CLIENTS[str(recording.expected["protocol"])](url, choices)


CLIENTS: dict[str, Callable[[str, int], Awaitable[words.Values]]] = {
    "chat": for_openai.chat,
    "openai-responses": for_openai.responses,
    "anthropic": for_anthropic.messages,
    "google": for_google.generate,
    "google-interactions": for_google.interact,
}
