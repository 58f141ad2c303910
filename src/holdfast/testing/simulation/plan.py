"""What a seed stands for: who asks for what, who reads how, and what goes wrong when.

Strategy: everything about a run that can be told beforehand is drawn here, as values. Each fault
is on in some runs and off in others, so that runs differ in kind and not only in number: what one
fault hides, a run without it shows.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from holdfast import settings
from holdfast.testing.simulation import faulty, reading

End = Literal["kill", "close", "drain"]
Mode = Literal["continue", "restart", "none"]


class Asked(msgspec.Struct, frozen=True):
    """One answer that is asked for, `at` so many seconds. `options` are the demo's; `mode` is what
    follows where it fails in mid-answer, `spare` whether another provider may be asked then;
    `times` is by how many clients, at once or after each other; `cancel_at` when somebody cancels
    it, `shred_at` when somebody destroys it, ended or not."""

    number: int
    at: float
    options: str
    mode: Mode
    spare: bool
    choices: int
    flush_interval_ms: int | None
    buffer_size: int | None
    key: str
    times: int
    cancel_at: float | None
    shred_at: float | None
    readers: int


class Plan(msgspec.Struct, frozen=True):
    """Times in seconds from the start. `restarts` are (when, how the node ends, how long there is
    none); `outages` are (from, to). From `peace` on nothing goes wrong any more. `pace` (seconds)
    and `page` (events) are the log's in health; `unreachable`, `diverging`, `impatient` and `busy`
    are shares: of calls to the provider, answers told again, clients and looks at the load."""

    answers: tuple[Asked, ...]
    faults: faulty.Faults
    pace: float
    page: int
    unreachable: float
    diverging: float
    impatient: float
    busy: float
    restarts: tuple[tuple[float, End, float], ...]
    outages: tuple[tuple[float, float], ...]
    manners: tuple[reading.Manner, ...]
    visitors: int
    peace: float
    config: settings.Settings


def draw(chance: random.Random) -> Plan:
    """The plan of a run."""
    peace = chance.uniform(1.0, 6.0)
    ends: tuple[End, ...] = ("kill", "kill", "close", "drain")
    restarts = [
        (chance.uniform(0.0, peace), chance.choice(ends), chance.choice((0.0, 0.05, 1.0)))
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3)))
    ]
    outages = [
        (begin, min(peace, begin + chance.uniform(0.1, 4.0)))
        for begin in (chance.uniform(0.0, peace) for _ in range(chance.choice((0, 0, 0, 1))))
    ]
    # Small pages, one after the other, each slowly, would be late by themselves.
    pace, page = chance.choice(
        ((0.0, 1), (0.0, 256), (0.01, 1), (0.01, 4), (0.01, 256), (0.05, 256))
    )
    return Plan(
        answers=tuple(_asked(chance, n) for n in range(chance.randint(1, 4))),
        faults=_faults(chance),
        pace=pace,
        page=page,
        unreachable=chance.choice((0.0, 0.0, 0.3)),
        diverging=chance.choice((0.0, 0.0, 0.5)),
        impatient=chance.choice((0.0, 0.0, 0.5)),
        busy=chance.choice((0.0, 0.0, 0.5)),
        restarts=tuple(sorted(restarts)),
        outages=tuple(outages),
        manners=tuple(_manner(chance) for _ in range(3)),
        visitors=chance.choice((0, 1, 3)),
        peace=peace,
        config=_config(chance),
    )


def _asked(chance: random.Random, number: int) -> Asked:
    key = chance.choice(("", "", "first", "second"))
    return Asked(
        number=number,
        at=chance.choice((0.0, chance.uniform(0.0, 1.0), chance.uniform(0.0, 8.0))),
        options=_options(chance),
        mode=chance.choice(("continue", "continue", "restart", "none")),
        spare=chance.random() < 0.5,
        choices=chance.choice((1, 1, 1, 2)),
        flush_interval_ms=chance.choice((None, None, 0, 30, 200)),
        buffer_size=chance.choice((None, None, 1, 40)),
        key=f"{key}-{number}" if key else "",
        times=chance.choice((1, 1, 2)),
        cancel_at=chance.uniform(0.0, 2.0) if chance.random() < 0.25 else None,
        shred_at=chance.uniform(0.0, 4.0) if chance.random() < 0.1 else None,
        readers=chance.choice((0, 1, 1, 2, 3, 5)),
    )


def _options(chance: random.Random) -> str:
    tokens, rate = chance.randint(0, 24), chance.choice((3, 5, 20, 60, 1000))
    said = [f"tokens={tokens}", f"rate={rate}", f"seed={chance.randrange(1000)}"]
    said += chance.choice(([], ["unicode=1"]))
    said += chance.choice(([], [], [f"reasoning={chance.randint(1, 6)}"]))
    said += chance.choice(([], [], [], ["tool=1"], ["refuse=1"]))
    at = chance.randint(0, tokens)
    faults = ([f"error_at={at}"], [f"cut_at={at}"], [f"stall_at={at}"], ["status=503"])
    return " ".join(said + (chance.choice(faults) if chance.random() < 0.3 else []))


def _faults(chance: random.Random) -> faulty.Faults:
    def share(most: float) -> float:
        return chance.choice((0.0, 0.0, most * chance.random()))

    if chance.random() < 0.3:
        return faulty.QUIET
    return faulty.Faults(
        slow=share(0.5),
        slowest=chance.choice((0.0, 0.02, 0.5)),
        refused=share(0.2),
        untold=share(0.2),
        late=share(0.4),
        hanging=share(0.05),
        blind=0.5,
        hint_lost=chance.choice((0.0, 0.0, 0.3, 1.0)),
        hint_late=share(0.5),
        hint_twice=share(0.5),
    )


def _manner(chance: random.Random) -> reading.Manner:
    return reading.Manner(
        leaves=chance.choice((0.0, 0.05, 0.3)),
        slowest=chance.choice((0.0, 0.0, 0.1, 1.0)),
        again=chance.choice((0.0, 0.1, 1.0)),
    )


def _config(chance: random.Random) -> settings.Settings:
    return settings.Settings(
        server=settings.Server(
            max_connections=chance.choice((2, 4, 10_000)),
            heartbeat_interval=chance.choice((0.4, 4.0)),
            connection_timeout=20.0,
            write_timeout=chance.choice((0.5, 30.0)),
            max_connection_age=chance.choice((0.0, 0.0, 1.5)),
            drain_timeout=chance.choice((0.0, 0.5, 3.0)),
        ),
        log=settings.Log(max_stream_bytes=chance.choice((1024, 16 << 20, 16 << 20))),
        streaming=settings.Streaming(
            flush_interval=chance.choice((0.0, 0.1, 0.5)),
            unsaved_per_stream=chance.choice((1024, 256 * 1024)),
            log_patience=chance.choice((1.0, 5.0)),
            abandon_after=chance.choice((0.0, 0.0, 0.0, 1.5)),
        ),
        fallback=settings.Fallback(
            attempts=chance.choice((1, 1, 3)),
            calls=chance.choice((4, 100)),
            delay=0.2,
            longest_delay=1.0,
            breaker_failures=chance.choice((1, 5)),
            breaker_pause=0.5,
        ),
        deadlines=settings.Deadlines(
            connect=1.0, first_byte=2.0, first_content=3.0, between_contents=3.0, total=30.0
        ),
    )
