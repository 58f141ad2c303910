"""The meter of one stream: what its calls use, as it is used.

Strategy: most providers tell what a call has used at its end, so until then it is an estimate: the
prompt by its length, and each piece of the answer as one token, or more where it is long. What the
provider tells takes the estimate's place, in either direction. Every call counts, those that failed
too; what a kept answer tells again does not. An answer that is whole is not ended any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from holdfast import errors, events, request
from holdfast.metering import account, prices

BYTES_PER_TOKEN = 4
"""Of English text; others take more tokens for as many bytes. Pictures are no text."""

KINDS, KIND_BYTES = frozenset(("role", "type")), 32
"""Fields that say what something is, and no more, where they are this short."""

FILES = frozenset(("data", "file_data", "url"))
"""Fields that hold pictures, sounds and documents as base64."""

FILE_BYTES, FILE_SHARE = 6000, 100
"""A file of more bytes counts as text of its size divided by the share, and as this many at least:
1,500 tokens, as for a picture."""

MOST_TOKENS = 10_000_000
"""Of one call; what a provider tells beyond is taken for an error of its."""

PIECE_LETTERS = 16
"""A piece of an answer that is no longer is one token."""


class Meter:
    """One for a stream."""

    def __init__(
        self,
        accounts: Sequence[account.Account],
        table: prices.Prices,
        asked: int,
        choices: int = 1,
        written: int = 0,
        size: int = 0,
    ) -> None:
        """Counts in these accounts. `asked` estimates the prompt in tokens, `choices` are the
        answers that are wanted; `written` estimates what there is already of a stream that is
        taken over; `size` is that of the request, in bytes."""
        self._accounts, self._table, self._asked, self._choices = accounts, table, asked, choices
        self._written, self._size = written, size
        self._price = prices.Price()
        self._tokens = self._cost = 0  # of this call, as counted
        self._told_tokens, self._told_cost = 0, 0.0  # what is not by pieces
        self._pieces = 0
        self._free = False
        self._finished: set[int] = set()
        self._stop: Callable[[errors.HoldfastError], None] | None = None
        self.over: errors.HoldfastError | None = None
        """The limit that was passed while the stream was under way."""
        for one in accounts:
            one.streams += 1
            one.bytes += size
            one.stops.add(self._passed)

    def check(self, provider: str, model: str) -> None:
        """Raises what this stream's first call is refused with: `errors.QuotaError`, or `Forbidden`
        where it needs a price and has none. Nothing is counted by it."""
        price = self._priced(provider, model)
        cost = math.ceil(self._asked * price.input)
        for one in self._accounts:
            one.check(self._asked, cost)

    def _priced(self, provider: str, model: str) -> prices.Price:
        """Raises `errors.Forbidden` where there has to be a price, and is none."""
        price = self._table.of(provider, model)
        if price is not None:
            return price
        for one in self._accounts:
            if one.priced:
                raise errors.Forbidden(
                    f"{one.name} has a limit of cost, and {model} has no price; see [prices]."
                )
        return prices.Price()

    def watch(self, stop: Callable[[errors.HoldfastError], None]) -> None:
        """What ends the stream; called at once where a limit was passed already."""
        self._stop = stop
        if self.over is not None:
            stop(self.over)

    def _passed(self, error: errors.HoldfastError) -> None:
        if len(self._finished) >= self._choices:
            return
        self.over = error
        if self._stop is not None:
            self._stop(error)

    def close(self) -> None:
        """The stream has ended. Idempotent."""
        for one in self._accounts:
            one.streams -= 1
            one.bytes -= self._size
            one.stops.discard(self._passed)
        self._accounts, self._stop = (), None  # whom it stops holds this meter

    def take_back(self) -> None:
        """There was no call, and no stream."""
        self._forget_call()
        self.close()

    def _forget_call(self) -> None:
        self._told_tokens, self._told_cost, self._pieces = 0, 0.0, 0
        self._count()

    def call(self, provider: str, model: str, how: str = "") -> None:
        """A call begins: it is charged for its prompt, if for nothing else."""
        self._tokens = self._cost = self._pieces = self._told_tokens = 0
        self._told_cost = 0.0
        self._free = how == "replay"
        try:
            self._price = self._priced(provider, model)
        except errors.Forbidden as error:
            self._price = prices.Price()
            self._passed(errors.CostLimit(error.message))
        if not self._free:
            self._told_tokens = self._asked + (self._written if how == "continue" else 0)
            self._told_cost = self._told_tokens * self._price.input
            self._count()

    def said(self, bodies: Sequence[events.Body]) -> None:
        """What goes into the stream, before it is in the log."""
        for body in bodies:
            if type(body) is events.Chunk:
                size = len(body.delta)
                pieces = 1 if size <= PIECE_LETTERS else size // BYTES_PER_TOKEN
                self._pieces += pieces
                if body.type == "content":
                    self._written += pieces
            elif type(body) is events.Usage:
                self._tell(body)
            elif type(body) is events.Attempt:
                self._attempt(body)
            elif type(body) is events.Finish:
                self._finished.add(body.choice)
            elif type(body) is events.Rewind:
                self._finished.clear()
                self._written = 0
        self._count()

    def _attempt(self, attempt: events.Attempt) -> None:
        if attempt.error:
            return
        if attempt.number == 1:
            self._forget_call()  # another one is the first: what was begun with was not made
        self._count()
        self.call(attempt.provider, attempt.model, attempt.how)

    def _tell(self, used: events.Tokens) -> None:
        """This call has used so much, in place of what was estimated."""
        if not self._free:
            told = max(used.total_tokens, used.input_tokens + used.output_tokens)
            share = min(1.0, MOST_TOKENS / max(told, 1))
            self._told_tokens = int(told * share)
            self._told_cost, self._pieces = self._price.of(used) * share, 0

    def _count(self) -> None:
        """Once a read, when all of it is known: what it corrects ends nobody."""
        tokens = self._told_tokens + self._pieces - self._tokens
        cost = math.ceil(self._told_cost + self._pieces * self._price.output) - self._cost
        if tokens or cost:
            self._tokens += tokens
            self._cost += cost
            for one in self._accounts:
                one.use(tokens, cost)


def estimate(wanted: request.Request) -> int:
    """The tokens of a prompt, by the length of all its texts and files, and of what else is told of
    the answer: that is sent as it is, names and all."""
    size = _size(msgspec.to_builtins(wanted.messages))
    for told in (wanted.tools, wanted.response_format):
        size += len(msgspec.json.encode(told)) if told else 0
    return -(-size // BYTES_PER_TOKEN)


def _size(value: object, name: str = "") -> int:
    """In bytes of text; `name` is the field's."""
    if isinstance(value, str):
        size = len(value.encode(errors="surrogatepass"))
        if name in KINDS and size <= KIND_BYTES:
            return 0
        is_file = name in FILES and size > FILE_BYTES and (name != "url" or value[:5] == "data:")
        return max(FILE_BYTES, size // FILE_SHARE) if is_file else size
    if isinstance(value, dict):
        return sum(_size(part, key) for key, part in value.items())
    return sum(_size(part, name) for part in value) if isinstance(value, list | tuple) else 0
