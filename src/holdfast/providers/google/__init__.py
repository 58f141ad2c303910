"""Google's Gemini API, streamGenerateContent.

The request: `format` writes it, `messages` the conversation in it, `parts` what a message is
made of. The answer: `fold` decides what a frame is, `wire` decodes it, `answer` says what is
new in it, with `calls` for tool calls, `partial_args` for arguments that come in pieces,
`sources` for citations and what the answer was grounded in, and `reasons` for its end and its
cost.
"""

from holdfast.providers.google.format import Format

__all__ = ["Format"]
