"""How much a producer may hold, and how long a provider may take."""

from __future__ import annotations

import msgspec

from holdfast.producing import attempt


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bytes, and seconds for the deadlines and the `cadence`."""

    buffer_size: int
    unsaved: int
    stream: int
    deadlines: attempt.Deadlines
    cadence: float = 0.0
