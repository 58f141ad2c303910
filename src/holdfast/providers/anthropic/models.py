"""What Anthropic's models differ in, as far as a request must know it.

Strategy: patterns of names, looked for anywhere in a name, because gateways put a prefix
before it. A model that is not known is taken for one of the newest where it is a Claude, and
asked with caution where it is not. What a model refuses and Holdfast cannot know for sure (a
temperature, an assistant message at the end) is sent as it was asked: the provider's own
refusal names the field.

Limits: https://platform.claude.com/docs/en/about-claude/models/overview and the pages of the
single models; the API's message names the limit ("max_tokens: 21333 > 4096, …").
"""

from __future__ import annotations

import re

_LONGEST = (
    (re.compile(r"claude-3-(?:opus|sonnet|haiku)|claude-(?:2|instant)"), 4_096),
    (re.compile(r"claude-3-5-"), 8_192),
    (re.compile(r"claude-3-7-|claude-opus-4-(?:[01](?!\d)|2\d{7})"), 32_000),
    (re.compile(r"claude-"), 64_000),
)
_UNKNOWN = 4_096

# The models since Opus 4.8; the others answer a system message after the first turn with 400.
_SYSTEM_TURNS = re.compile(r"claude-(?:opus-4-[89]|[a-z]+-(?:[5-9]|[1-9]\d))(?!\d)")

# Those that take a prefill: up to 4.5. Later ones answer it with 400.
_PREFILLED = re.compile(r"claude-(?:[23](?!\d)|instant|[a-z]+-4-(?:[0-5](?!\d)|2\d{7}))")


def max_tokens(model: str) -> int:
    """The bound of an answer, in tokens, for a request that gives none: Anthropic demands one.

    It is as long as every model of the family allows, up to 64,000: a lower one would cut
    long answers off that OpenAI's models would finish, and thinking counts towards it. It
    costs nothing: what is billed and counted against rate limits is what is written.
    """
    return next((most for name, most in _LONGEST if name.search(model)), _UNKNOWN)


def takes_system_turns(model: str) -> bool:
    """Whether a system message may stand after the first turn.

    https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
    """
    return _SYSTEM_TURNS.search(model) is not None


def prefills(model: str) -> bool:
    """Whether the last message may be the begin of the answer.

    https://platform.claude.com/docs/en/build-with-claude/prefill-claudes-response
    """
    return _PREFILLED.search(model) is not None
