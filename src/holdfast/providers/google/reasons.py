"""How an answer ended, and what it cost, in our words.

Strategy: tables. A finish reason is an error where no answer of any use is there and the
request, or the same request again, is the remedy; it is `other` where the answer stands as far
as it goes.

Reasons: https://ai.google.dev/api/generate-content#FinishReason and #BlockReason;
usage: https://ai.google.dev/api/generate-content#UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from holdfast import errors, events
from holdfast.providers import values

REASONS: dict[str, events.FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",  # another request may go on
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
}
"""Google's finish reasons in ours; any other word is `other`, also OTHER, IMAGE_OTHER, NO_IMAGE
and TOO_MANY_TOOL_CALLS: what there is of the answer is the model's, and asking again would cost
as much and end alike."""

BROKEN_OFF: dict[str, type[errors.ProviderError]] = {
    # The model wrote something that Google could not read: another sample is mostly good.
    "MALFORMED_FUNCTION_CALL": errors.ProviderFailed,
    "MALFORMED_RESPONSE": errors.ProviderFailed,
    "UNEXPECTED_TOOL_CALL": errors.ProviderFailed,
    # The request is wrong, and stays so.
    "MISSING_THOUGHT_SIGNATURE": errors.ProviderRejected,
    # The account is limited.
    "PUP_LIMITED_DISABLED": errors.ProviderAuth,
}
"""Finish reasons that are errors."""

UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"
"""Says nothing: the enum's zero, which older servers write into every frame."""

UNSPECIFIED_BLOCKS = frozenset(("BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"))
"""The same of the reasons of a block; the second is Vertex AI's."""


def usage(counts: Any) -> events.Usage | None:
    """Token counts. What tools brought was read by the model like the prompt, and thoughts
    were written like the answer."""
    prompt = values.tokens(counts, "promptTokenCount")
    written = values.tokens(counts, "candidatesTokenCount")
    thoughts = values.tokens(counts, "thoughtsTokenCount")
    if prompt is None and written is None and thoughts is None:
        return None
    read = (prompt or 0) + (values.tokens(counts, "toolUsePromptTokenCount") or 0)
    output = (written or 0) + (thoughts or 0)
    total = values.tokens(counts, "totalTokenCount")
    return events.Usage(
        input_tokens=read,
        output_tokens=output,
        total_tokens=read + output if total is None else total,
        reasoning_tokens=thoughts,
        cached_tokens=values.tokens(counts, "cachedContentTokenCount"),
    )
