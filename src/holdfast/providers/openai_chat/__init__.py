"""OpenAI chat completions, for OpenAI and all who speak like it.

`format` writes the request. `fold` decides what a frame of the answer is, `wire` decodes it,
`deltas` says what is new in it, and `tool_calls` which call a fragment goes on.
"""

from holdfast.providers.openai_chat.format import Format

__all__ = ["Format"]
