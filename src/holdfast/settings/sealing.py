"""The table of what seals what is kept: where the keys are, and how often they change.

Strategy: a ring that stands in the settings themselves is a secret as a whole, and what it holds is
for `holdfast.sealing` to read. A path is none, but people put keys there too.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from holdfast.settings.fields import DURATION, Duration, Table

DAY = 86400.0  # seconds

LEAST = 600.0
"""Seconds that a key lasts at least: new ones are known for a minute before they are used."""

MAX_RING = 32 * 1024 * 1024
"""Characters of a ring; an environment holds 128 KiB in one variable."""


def _ring(value: object) -> object:
    """Empty is none."""
    if isinstance(value, SecretStr) or value is None:
        return value
    if not isinstance(value, str) or len(value) > MAX_RING:
        raise ValueError("not a key ring")
    return value.strip() or None


Path = Annotated[
    Annotated[
        str,
        Field(pattern=r"^[^\x00-\x1f]*$", max_length=4096),
        AfterValidator(lambda text: text or None),
    ]
    | None,
    "the path of a file",
]
RingText = Annotated[
    SecretStr | None,
    BeforeValidator(_ring),
    WithJsonSchema({"type": "string"}),
    "a key ring as JSON, or that in base64",
]


class Sealing(Table):
    """Encryption of what is kept, on disk and in Redis and PostgreSQL, by AES-256-GCM."""

    keys: Path = None
    """The file with the key ring: what is written from then on is sealed. It is made by
    `holdfast serve --encrypt`, must be readable by its owner alone, and belongs into no backup that
    the data are in; who loses it loses the answers. None: nothing is sealed, as keys need a safe
    place first."""

    ring: RingText = None
    """The key ring itself, in the place of a file: for `HOLDFAST_SEALING__RING`, as schedulers hand
    secrets over. Nodes cannot rotate it. Shown nowhere. None: it is in a file, or there is none."""

    on: bool = True
    """Whether what is new is sealed, where there are keys. `false` reads what is sealed, and seals
    nothing new: how one leaves it again."""

    rotate_every: Duration = Field(default=DAY, ge=0, le=3650 * DAY)
    """Age at which a key is followed by a new one; 0 is never, and otherwise 10 minutes at least. A
    day: a key that is lost opens what was written in one. Each time copies of the ring are out of
    date."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.keys is not None and self.ring is not None:
            raise ValueError("keys and ring are both given: a key ring is in one place")
        if 0 < self.rotate_every < LEAST:
            raise ValueError(
                f"rotate_every ({DURATION.show(self.rotate_every)}) is 0 or at least "
                f"{DURATION.show(LEAST)}"
            )
        return self
