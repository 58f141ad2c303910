"""What the events of a stream come to: the numbers and proofs that its end states.

Strategy: a fold over bodies in the order of the log, so a writer that takes over a stream reads
the log and knows what the first writer knew. The producer adds what it is about to append.
"""

from __future__ import annotations

from holdfast import answer, events


class Tally:
    """`calls` are the provider calls that ended before this life; a life that died is taken to have
    been in the middle of one, so that never too few are counted. `barren` are the lives since
    anything of the answer was written, `kept` the id under which the provider keeps the answer,
    `stored` the bytes of the events' data, `usage` what the present call has cost so far.

    Since the last rewind: `said` are the types of chunks that there are; `exact`: no seam is
    without proof; `joined`: the answer is of more than one call; `spent` are the output tokens of
    the calls that ended, as far as their providers told. `target` is the `provider/model` that the
    answer was last left to; None where it is the first."""

    def __init__(self) -> None:
        self.chunks = self.bytes = self.stored = self.calls = self.barren = 0
        self.usage: events.Tokens | None = None
        self.kept: str | None = None
        self.target: str | None = None
        self._forget()

    def _forget(self) -> None:
        self._proofs: dict[int, answer.Proof] = {0: answer.Proof()}
        self._finishes: dict[int, events.Finish] = {}
        self.said: set[events.ChunkType] = set()
        self.exact, self.joined, self.spent = True, False, 0

    def add(self, body: events.Body) -> None:
        match body:
            case events.Attempt():
                self.calls += 1
                self._spend()
                self.usage = None
                return
            case events.Adopted():
                self.calls += 1
                self.barren += 1
                return
            case events.Chunk():
                self._add_chunk(body)
            case events.Finish():
                self._finishes[body.choice] = body
            case events.Usage():
                self.usage = body.tokens
            case events.Kept():
                self.kept = body.id
            case events.Fallback():
                self.target, self.kept = body.to, None
                self.exact = self.exact and body.exact
                self.joined = self.joined or body.at > 0
            case events.Rewind():
                self.kept = None
                self._forget()
        self.barren = 0

    def _spend(self) -> None:
        if self.usage is None or not self.said:  # of what was never read nothing is used up
            return
        tokens = self.usage.output_tokens
        # Before a seam it is one answer, which a kept one's later calls only tell again.
        self.spent = self.spent + tokens if self.joined else max(self.spent, tokens)

    def _add_chunk(self, body: events.Chunk) -> None:
        self.chunks += 1
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
