"""OpenAI chat completions, for OpenAI and all who speak like it.

`translator` decides what a frame is, `wire` decodes it, `deltas` says what is new in it, and
`tool_calls` which call a fragment goes on.
"""

from holdfast.providers.openai_chat.translator import MAX_STRAY, Translator

__all__ = ["MAX_STRAY", "Translator"]
