"""The tool calls of one choice.

Strategy: a call comes whole in one part, or, from Vertex AI, as a part with its name, parts
with pieces of its arguments, and a part that no longer says that it will continue. Its first
chunk has id, name and signature at once; its arguments follow when they are complete. A call
that never becomes complete has none: half of them would be a valid object that says something
else.

Where Google gives no id, the call gets one, because clients answer by id:
`call_<responseId>_<ordinal>`, or `call_<ordinal>` without a response id; in a choice but the
first its index stands before the ordinal. The same bytes give the same id, and two answers of
one conversation give different ones.
"""

from __future__ import annotations

import msgspec

from holdfast import events
from holdfast.providers import halves, values
from holdfast.providers.google import partial_args, wire

MAX_NAME = 1024
"""Characters of an id or a name; Google's names have at most 128."""


class Calls:
    """`count` is how many have begun in this choice, `gathered` the size of the pieces of
    arguments. `take` raises ValueError for what makes no sense."""

    def __init__(self, choice: int) -> None:
        self.count = 0
        self.gathered = 0
        self._choice = choice
        self._gathered: partial_args.Gathered | None = None

    def take(
        self, call: wire.FunctionCall, signature: str | None, answer_id: str | None
    ) -> events.Chunk | None:
        """What one part adds; `answer_id` is Google's for the whole answer."""
        id = name = None
        if call.name:
            id, name = self._begin(call, answer_id), halves.valid(call.name)
        text = self._arguments(call)
        if not (name or text or signature) or self.count == 0:
            return None
        extra = values.extra(thoughtSignature=signature) if signature else msgspec.UNSET
        ordinal = self.count - 1
        return events.Chunk("tool_call", text, self._choice, ordinal, id=id, name=name, extra=extra)

    def _begin(self, call: wire.FunctionCall, answer_id: str | None) -> str:
        """Opens a call and returns its id."""
        if max(len(call.id or ""), len(call.name or "")) > MAX_NAME:
            raise ValueError(f"a tool call's id or name has over {MAX_NAME} characters")
        ordinal, self.count = self.count, self.count + 1
        self._gathered = partial_args.Gathered()
        if call.id:
            return halves.valid(call.id)
        named = [values.word(answer_id)] if answer_id else []
        choice = [str(self._choice)] if self._choice else []
        return "_".join(("call", *named, *choice, str(ordinal)))

    def _arguments(self, call: wire.FunctionCall) -> str:
        """The arguments, where this part completes them, else ""."""
        gathered = self._gathered
        if gathered is None:
            return ""  # goes on with a call that is complete, or was never begun
        for piece in call.partial_args or ():
            self.gathered += gathered.add(piece)
        if call.will_continue:
            return ""
        self._gathered = None
        whole = call.args if isinstance(call.args, dict) else {}
        return values.encoded(whole | gathered.built())
