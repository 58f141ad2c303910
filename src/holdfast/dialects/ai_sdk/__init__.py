"""The AI SDK's UI message stream, version 1, which `useChat` of `ai` 5, 6 and 7 reads.

`asking` reads the body, with `messages` for the conversation. `chunks` says what an event is in
chunks of that stream; `fold` writes them as frames, `whole` gathers them into one message.
`refusals` is how a call fails.
"""

from holdfast.dialects.ai_sdk.dialect import Dialect

__all__ = ["Dialect"]
