"""OpenAI chat completions, as its clients speak it.

`asking` reads what they ask for. `spoken` says what an event is in their words, `fold` makes the
frames of a stream of it and `whole` one value, and `refusals` tells errors.
"""

from holdfast.dialects.openai_chat.dialect import Dialect

__all__ = ["Dialect"]
