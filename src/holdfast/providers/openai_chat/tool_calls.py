"""Which tool call a fragment belongs to.

Strategy: OpenAI gives each call of a choice an `index`, and `id` and `name` in its first
fragment only. Others send whole calls, all with index 0 or none (Ollama), ids of "" or names
of "" in later fragments (Alibaba, Mistral), or the id in every fragment (vLLM). So the index
is followed while it agrees with what it said before, and a fragment that begins anew, by
another id together with a name or by a name where one is complete, opens a call of its own.
Our ordinals count the calls of a choice from 0 in the order in which they began.
"""

from __future__ import annotations

import msgspec

MAX_ID = 1 << 16
"""Characters of an id or a name. Some gateways put a thought signature into the id."""


class Opened(msgspec.Struct, gc=False):
    """A call under way: what is known of it."""

    ordinal: int
    id: str = ""
    name: str = ""
    has_arguments: bool = False


class Calls:
    """The tool calls of one choice. `count` is how many have begun."""

    def __init__(self) -> None:
        self.count = 0
        self._at: dict[int, Opened] = {}
        self._of: dict[str, Opened] = {}
        self._last: Opened | None = None

    def place(self, index: int | None, id: str, name: str) -> Opened:
        """The call of a fragment with this index, id and name ("" where there is none)."""
        call = self._last if index is None else self._at.get(index)
        if call is None or self._begins(call, index, id, name):
            known = self._of.get(id) if index is None or call is not None else None
            call = known or self._open()
            if index is not None:
                self._at[index] = call
        self._last = call
        return call

    def _begins(self, call: Opened, index: int | None, id: str, name: str) -> bool:
        """Whether the fragment is not of the call that its index, or its place, points to."""
        if id and call.id:
            return id != call.id and (bool(name) or index is None or id in self._of)
        if call.id and index is not None:  # some repeat the name in each fragment
            return bool(name and call.name) and name != call.name
        return bool(name and call.name) and (call.has_arguments or name != call.name)

    def _open(self) -> Opened:
        self.count += 1
        return Opened(self.count - 1)

    def learn(self, call: Opened, id: str, name: str) -> tuple[str | None, str | None]:
        """Notes id and name, and returns those of them that are new."""
        news = (id if id and not call.id else None, name if name and not call.name else None)
        if news[0]:
            call.id = id
            self._of.setdefault(id, call)
        if news[1]:
            call.name = name
        return news
