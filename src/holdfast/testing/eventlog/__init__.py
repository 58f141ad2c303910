"""The event log's contract as tests: what holds an engine to the rules of `eventlog.base`.

Strategy: each test names the rule that it is about, speaks to the engine only by the
contract's verbs, and begins with a fresh log. An engine is shown to keep the contract by a
class in a test module of its own:

    from holdfast.testing import eventlog

    class TestMine(eventlog.Contract):
        @pytest.fixture
        async def new_log(self):
            ...  # yields a function: `await new_log()` is a started engine on an empty store

With `pytest.register_assert_rewrite("holdfast.testing")` in the root `conftest.py`, failures
are explained. `DurableContract` has more tests, for engines whose streams outlive them, and
asks for one fixture more: with the function `reopen`, `await reopen(log)` closes a log and
gives a started engine on the same store, as a process finds it that starts once the old one
is known to be dead. The tests are plain methods, so that a broken engine can be put through
them by hand as well.

`Sealing` is for engines with a store, and asks for the fixture `open_by`.

An engine that keeps no counters is held to saying so by `UncountedContract`, in the place of
`Contract`; with `Durable` beside it where its streams outlive it.
"""

from __future__ import annotations

from holdfast.testing.eventlog.counting import Counting, DurableCounting, Uncounted
from holdfast.testing.eventlog.durable import Durable
from holdfast.testing.eventlog.expiry import Expiry
from holdfast.testing.eventlog.hints import Hints
from holdfast.testing.eventlog.parts import NewLog, Reopen
from holdfast.testing.eventlog.reading import Reading
from holdfast.testing.eventlog.sealing import OpenBy, Sealing
from holdfast.testing.eventlog.writing import Writing


class Contract(Writing, Reading, Hints, Expiry, Counting):
    """For every engine that keeps counters."""


class UncountedContract(Writing, Reading, Hints, Expiry, Uncounted):
    """For every other one."""


class DurableContract(Contract, Durable, DurableCounting):
    """For engines whose streams and counters outlive their process."""


__all__ = [
    "Contract",
    "Durable",
    "DurableContract",
    "NewLog",
    "OpenBy",
    "Reopen",
    "Sealing",
    "UncountedContract",
]
