"""Anthropic Messages, for Anthropic and the servers that speak like it.

`format` writes the request, with `messages` for the conversation, `parts` for a piece of it,
`tools` for the tools and `models` for what models differ in. `fold` decides what a frame of
the answer is, `wire` decodes it, `answer` says what is new in it, `blocks` gathers those
that go back verbatim and `counts` the usage. `common` makes of a request that was
written for Anthropic one that every provider knows.
"""

from holdfast.providers.anthropic.common import common
from holdfast.providers.anthropic.format import Format

__all__ = ["Format", "common"]
