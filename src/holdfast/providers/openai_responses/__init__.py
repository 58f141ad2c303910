"""OpenAI Responses, for OpenAI and the servers that speak like it.

`format` writes the request and `messages` its input. `fold` decides what a frame of the answer
is, `wire` decodes it, `answer` remembers what was said and says what is new, `parts` are its
running texts, and `items` tells what becomes of an output item once it is complete.
`background` is about answers that the provider keeps.
"""

from holdfast.providers.openai_responses.format import Format

__all__ = ["Format"]
