"""Anthropic Messages, as its clients speak it.

`asking` reads what they ask for. `fold` makes the frames of a stream, of which `blocks` are the
content, in the order that `turns` gives to tool calls, and `ends` the end; `whole` makes one value
of the same frames, and `refusals` tells errors.
"""

from holdfast.dialects.anthropic.dialect import Dialect

__all__ = ["Dialect"]
