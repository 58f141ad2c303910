"""The conversation, as Anthropic takes it.

Strategy: Anthropic knows turns of the user and of the assistant, and instructions apart. The
results of tools are the user's, and those of calls that were made together must come together,
so messages of one role in a row become one.

Instructions after the first turn may stand among the turns with newer models, and only at the
end of a user's turn: there they go. With older models, and where there is no such place, they
join the other instructions: that keeps their weight and loses their place.

Format: https://platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

from holdfast import request
from holdfast.providers import asked
from holdfast.providers.anthropic import models, parts

Made = parts.Made


def conversation(
    wanted: list[request.Message], model: str, *, own: bool = False
) -> tuple[list[Made], list[Made]]:
    """The blocks of `system`, and `messages`. `own`: they were written for this format, so that
    blocks that are not known here are the provider's to refuse. Raises `errors.InvalidField`."""
    made = _Conversation(models.takes_system_turns(model))
    for number, message in enumerate(wanted):
        where = f"messages[{number}]"
        if message.name is not None and message.role != "tool":
            asked.refuse(f"{where}.name", "this provider takes no names")
        if message.role in ("system", "developer"):
            made.instruct(_blocks(message, where, own))
        elif message.role == "assistant":
            made.say("assistant", _blocks(message, where, own) + _calls(message, where))
        elif message.role == "tool":
            made.say("user", [_result(message, where)])
        else:
            blocks = _blocks(message, where, own)
            if not blocks:
                asked.refuse(f"{where}.content", "is empty, which this provider refuses")
            made.say("user", blocks)
    return made.whole()


class _Conversation:
    """What is gathered: instructions for the begin, turns, and instructions that wait for the
    end of a user's turn, where `turns_take_them`."""

    def __init__(self, turns_take_them: bool) -> None:
        self._turns_take_them = turns_take_them
        self._system: list[Made] = []
        self._turns: list[Made] = []
        self._waiting: list[Made] = []

    def instruct(self, blocks: list[Made]) -> None:
        here = self._waiting if self._turns and self._turns_take_them else self._system
        here += blocks

    def say(self, role: str, blocks: list[Made]) -> None:
        # An assistant's message may be empty (an answer that was cut at its begin): it says
        # nothing, and Anthropic refuses it.
        if not blocks:
            return
        if role == "assistant":
            self._place()
        if self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["content"] += blocks
        else:
            self._turns.append({"role": role, "content": list(blocks)})

    def whole(self) -> tuple[list[Made], list[Made]]:
        self._place()
        self._system += self._waiting
        if self._turns and self._turns[-1]["role"] == "assistant":
            _strip(self._turns)
        if not self._turns:
            asked.refuse("messages", "this provider needs a message beside the instructions")
        return self._system, self._turns

    def _place(self) -> None:
        if self._waiting and self._turns[-1]["role"] == "user":
            self._turns.append({"role": "system", "content": self._waiting})
            self._waiting = []


def _blocks(message: request.Message, where: str, own: bool) -> list[Made]:
    write = {"user": parts.user, "assistant": parts.assistant}.get(message.role, parts.instruction)
    found = (
        part.fields if own and isinstance(part, asked.Native) else write(part)
        for part in asked.parts(message, where)
    )
    return [block for block in found if block is not None]


def _calls(message: request.Message, where: str) -> list[Made]:
    made = []
    for call in asked.calls(message, where):
        if not call.id:
            asked.refuse(f"{call.where}.id", "is missing")
        id = parts.call_id(call.id)
        made.append({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments})
    return made


def _result(message: request.Message, where: str) -> Made:
    if not message.tool_call_id:
        asked.refuse(f"{where}.tool_call_id", "is missing")
    made: Made = {"type": "tool_result", "tool_use_id": parts.call_id(message.tool_call_id)}
    found = (parts.result(part) for part in asked.parts(message, where))
    content = [block for block in found if block is not None]
    return made | {"content": content} if content else made


def _strip(turns: list[Made]) -> None:
    """Takes the white space from the end of the last turn, which the answer shall continue:
    Anthropic refuses it there."""
    last = turns[-1]["content"][-1]
    if last.get("type") == "text" and isinstance(last.get("text"), str):
        turns[-1]["content"][-1] = last | {"text": last["text"].rstrip()}
