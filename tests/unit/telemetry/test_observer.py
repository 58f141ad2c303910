"""Observers: each hears what it wants, and one that fails hurts nobody."""

from __future__ import annotations

from typing import get_args

import pytest
from structlog.testing import capture_logs

from holdfast.telemetry import observer


class Everything:
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        if name not in get_args(observer.What):
            raise AttributeError(name)
        return lambda *facts: self.heard.append((name, *facts))


class Ends:
    """Wants to hear of ends alone."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def stream_completed(self, *facts: object) -> None:
        self.heard.append(facts)


class Broken:
    """Fails at whatever it is told."""

    def stream_started(self, *facts: object) -> None:
        raise KeyError("x")

    @property
    def stream_completed(self) -> None:
        raise ZeroDivisionError

    stream_failed = "no method"


@pytest.mark.parametrize("what", get_args(observer.What))
def test_what_happens_is_told_with_its_facts(what: observer.What) -> None:
    one, two = Everything(), Everything()
    observers = observer.Observers([one, two])
    fact = object()
    observers.tell(what, "id", fact)
    assert one.heard == two.heard == [(what, "id", fact)]


def test_the_six_things_that_are_told() -> None:
    assert set(get_args(observer.What)) == {
        "connection_opened",
        "connection_closed",
        "stream_started",
        "stream_completed",
        "stream_failed",
        "metrics_updated",
    }


def test_an_observer_has_only_the_methods_that_it_wants() -> None:
    ends = Ends()
    observers = observer.Observers([ends])
    with capture_logs() as logs:
        observers.tell("stream_started", "id")
        observers.tell("stream_completed", "id", 1)
    assert ends.heard == [("id", 1)]
    assert logs == []


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("stream_started", KeyError),
        ("stream_completed", ZeroDivisionError),
        ("stream_failed", TypeError),
    ],
)
def test_one_that_fails_is_logged_and_the_others_hear(
    what: observer.What, error: type[Exception]
) -> None:
    before, after = Everything(), Everything()
    observers = observer.Observers([before, Broken(), after])
    with capture_logs() as logs:
        observers.tell(what, "id")
    assert before.heard == after.heard == [(what, "id")]
    [line] = logs
    assert (line["event"], line["observer"], line["told"]) == ("observer_failed", "Broken", what)
    assert error.__name__ in line["trace"]
    assert line["log_level"] == "error"


def test_without_observers_nothing_happens() -> None:
    observer.Observers().tell("stream_started", "id")


def test_observers_are_those_that_were_given() -> None:
    given = [Everything()]
    observers = observer.Observers(given)
    given.append(Everything())
    observers.tell("stream_started", "id")
    assert [len(one.heard) for one in given] == [1, 0]
