"""What the events of a stream come to: the numbers and proofs that its end states.

Strategy: a fold over bodies in the order of the log, so a writer that takes over a stream reads
the log and knows what the first writer knew. The producer adds what it is about to append.
"""

from __future__ import annotations

from typing import Literal

from holdfast import answer, events

Said = events.ChunkType | Literal["citation", "finish"]


class Tally:
    """`calls` are the provider calls that were begun, the first one with the stream; `asked` is the
    `provider/model` of the latest, None where that is the first; `usage` what it has cost so far,
    and `kept` the id under which its provider keeps its answer. `target` is whom the text was left
    to, None where that is the first. `fallbacks` are the times that it was left to another,
    `adoptions` the lives after the first, and `barren` those since anything of the answer was
    written; `stored` are the bytes of the events' data.

    Since the last rewind: `said` is what there is of an answer, by its type; `exact`: no seam is
    without proof; `own`: all of it is of the latest call; `void`: nobody can go on from it; `spent`
    are the output tokens of the calls that ended, as far as their providers told."""

    __slots__ = (
        "_before",
        "_finishes",
        "_proofs",
        "adoptions",
        "asked",
        "barren",
        "bytes",
        "calls",
        "chunks",
        "exact",
        "fallbacks",
        "kept",
        "own",
        "said",
        "spent",
        "stored",
        "target",
        "usage",
        "void",
    )

    def __init__(self) -> None:
        self.chunks = self.bytes = self.stored = self.barren = 0
        self.calls, self.fallbacks, self.adoptions = 1, 0, 0
        self.usage: events.Tokens | None = None
        self.kept: str | None = None
        self.asked: str | None = None
        self.target: str | None = None
        self._before = 0  # the chunks before the latest call, which speaks where there are more
        self._forget()

    def _forget(self) -> None:
        self._proofs: dict[int, answer.Proof] = {0: answer.Proof()}
        self._finishes: dict[int, events.Finish] = {}
        self.said: set[Said] = set()
        self.exact, self.own, self.void, self.spent = True, True, False, 0

    def add(self, body: events.Body) -> None:
        if type(body) is events.Chunk:  # as nearly all are
            self._add_chunk(body)
            self.barren = 0
            return
        match body:
            case events.Attempt():
                self._add_attempt(body)
                return
            case events.Adopted():
                if not self._finishes.keys() >= self._proofs.keys():
                    self._end_call()  # else its cost may not be told again
                self.adoptions += 1
                self.barren += 1
                return
            case events.Usage():
                self.usage = body.tokens
                return
            case events.Kept():
                self.kept = body.id
                return
            case events.Finish():
                self.said.add("finish")
                self._finishes[body.choice] = body
            case events.Citation():
                self.said.add("citation")
            case events.Fallback():
                self.target = body.to
                self.fallbacks += body.to != body.from_  # else it is gone on with where it was
                self.exact = self.exact and body.exact
            case events.Rewind():
                self._forget()
        self.barren = 0

    def _add_attempt(self, attempt: events.Attempt) -> None:
        if attempt.error:
            self.void = self.void or attempt.void
            self._end_call()
            return
        self.calls = attempt.number
        self.asked = f"{attempt.provider}/{attempt.model}"
        if attempt.how != "replay":
            self.kept, self.own, self._before = None, not self.said, self.chunks

    def _end_call(self) -> None:
        if self.usage is not None and self.chunks > self._before:
            tokens = self.usage.output_tokens
            # One answer, which a kept one's later calls only tell again, is not counted twice.
            self.spent = max(self.spent, tokens) if self.own else self.spent + tokens
        self.usage = None

    def _add_chunk(self, body: events.Chunk) -> None:
        self.chunks += 1
        if body.delta or body.type in ("tool_call", "opaque"):
            self.said.add(body.type)
        if body.type != "content":
            self.bytes += len(body.delta.encode())
            return
        proof = self._proofs.get(body.choice)
        if proof is None:
            proof = self._proofs[body.choice] = answer.Proof()
        self.bytes += proof.add(body.delta)

    def finished(self, choices: int) -> bool:
        """Every one of so many choices has its finish reason: nothing of the answer is left."""
        return all(number in self._finishes for number in range(choices))

    def complete(self, choices: int, attempts: int, duration_ms: int) -> events.Complete:
        """The terminal event of a whole answer of so many choices."""
        first, proof = self._finishes.get(0), self._proofs[0]
        return events.Complete(
            finish_reason=first.finish_reason if first else "other",
            provider_finish_reason=first.provider_finish_reason if first else None,
            usage=self.usage,
            chunks=self.chunks,
            bytes=self.bytes,
            length=proof.length,
            sha256=proof.sha256,
            duration_ms=duration_ms,
            attempts=attempts,
            exact=self.exact,
            choices=tuple(map(self._choice_end, range(choices))) if choices > 1 else None,
        )

    def _choice_end(self, number: int) -> events.ChoiceEnd:
        finish, proof = self._finishes.get(number), self._proofs.get(number, answer.Proof())
        reason = finish.finish_reason if finish else "other"
        return events.ChoiceEnd(number, reason, proof.length, proof.sha256)
