"""An answer that the provider gives event by event, each when the test asks for it.

Strategy: a gate stands before each event of the recording. Which events say anything is asked of
a translator of one's own, so that after each of them the test can wait until a reader has
something new: then the server stands still, and every position so far is a place to join.
"""

from __future__ import annotations

import asyncio

from tests.integration import harness, replaying

from holdfast.testing import recordings


class SteppedAnswer:
    """One recording under the test's hand; `part` is what the provider is to play."""

    def __init__(self, recording: recordings.Recording) -> None:
        self._frames = recordings.per_event(recording.wire)
        self._gates = [asyncio.Event() for _ in self._frames]
        body = tuple(
            piece for both in zip(self._gates, self._frames, strict=True) for piece in both
        )
        self.part = replaying.Part(recording, "held", body)
        self._translator = replaying.translator(recording)
        self._given = 0

    @property
    def given(self) -> int:
        """Events that the provider has sent."""
        return self._given

    @property
    def left(self) -> int:
        """Events that it still holds and that matter: none after an error or the end marker."""
        translator = self._translator
        ended = translator.done or translator.error is not None
        return 0 if ended else len(self._frames) - self._given

    def give(self) -> bool:
        """Lets one event go; true where it says something."""
        frame, gate = self._frames[self._given], self._gates[self._given]
        self._given += 1
        said = self._translator.feed(frame)
        gate.set()
        return bool(said) or not self.left

    async def step(self, lead: harness.Reader) -> None:
        """Lets events go until the reader has one more, or none is held."""
        before = max(1, len(lead.blocks))  # `start` is there unasked
        while self.left:
            if self.give():
                await lead.until(lambda reader: len(reader.blocks) > before)
                return
