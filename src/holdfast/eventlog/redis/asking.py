"""What nodes ask each other: a question to all, and an answer from each that is there.

Strategy: a question goes through the channel of hints, and an answer, which may be large, through
that of who asks alone, so nodes need no way to each other. Who asks knows from the leases which
nodes there are, waits for each of them, and not for long: a node that says nothing in time is told
as such. Nothing of a stream's life depends on this.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

import structlog

from holdfast import errors, supervisor
from holdfast.eventlog.redis import hints, keys, lease, lines

QUESTION, ANSWER = b"q", b"a"

MAX_ASKED = 64
"""Questions of this node's under way, and as many of others' that it answers at a time."""

_log = structlog.get_logger("holdfast")


class Asking:
    """Between a start and a close of the engine. `answer` is what this node says to a question."""

    def __init__(
        self,
        wires: lines.Lines,
        held: lease.Lease,
        tasks: supervisor.Supervisor,
        answer: Callable[[bytes], bytes],
    ) -> None:
        self._lines, self._lease, self._tasks, self._answer = wires, held, tasks, answer
        self._asked: dict[bytes, _Question] = {}
        self._answering = 0

    async def ask(self, question: bytes, seconds: float) -> Mapping[str, bytes | None]:
        """What each other living node answers; None for one that does not in time. Raises
        `errors.LogUnavailable`."""
        if len(self._asked) >= MAX_ASKED:
            raise errors.LogUnavailable(f"{MAX_ASKED} questions to other nodes are under way.")
        number = secrets.token_hex(8).encode()
        asked = self._asked[number] = _Question(await self._lease.others())
        try:
            await self._tell(keys.HINTS, QUESTION, number + b" " + question)
            async with asyncio.timeout(seconds):
                await asked.whole.wait()
        except TimeoutError:
            pass
        finally:
            del self._asked[number]
        return {life.decode(): said for life, said in asked.answers.items()}

    def take(self, who: bytes, what: bytes, said: bytes) -> None:
        """A message of another node's."""
        number, _, rest = said.partition(b" ")
        if what == ANSWER and number in self._asked:
            self._asked[number].take(who, rest)
        elif what == QUESTION and self._answering < MAX_ASKED:
            self._answering += 1
            self._tasks.job(
                self._reply(who, number, rest), f"answer {who.decode(errors='replace')}"
            )

    async def _reply(self, who: bytes, number: bytes, question: bytes) -> None:
        try:
            await self._tell(keys.hints_for(who), ANSWER, number + b" " + self._answer(question))
        except errors.LogUnavailable as error:
            _log.warning("node_not_answered", error=error.message)
        finally:
            self._answering -= 1

    async def _tell(self, channel: bytes, what: bytes, said: bytes) -> None:
        words = ("PUBLISH", channel, hints.framed(self._lease.life, what, said))
        await self._lines.ask([lines.Keyed(keys.HINTS, words)], lines.READ)


class _Question:
    """One under way. `answers` has all who are asked."""

    def __init__(self, others: list[bytes]) -> None:
        self.answers: dict[bytes, bytes | None] = dict.fromkeys(others)
        self.whole = asyncio.Event()
        self._look()

    def take(self, who: bytes, said: bytes) -> None:
        if who in self.answers:
            self.answers[who] = said
            self._look()

    def _look(self) -> None:
        if None not in self.answers.values():
            self.whole.set()
