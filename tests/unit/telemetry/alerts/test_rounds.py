"""The rounds of one node: what is logged, posted and shown.

Strategy: the receiver is a real server on loopback, on an event loop whose time is simulated; the
node is what a test says that it has counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import msgspec
import pytest
import structlog.testing
from tests.unit.telemetry.alerts import scenes

from holdfast import transport
from holdfast.supervisor import Supervisor
from holdfast.telemetry import counts
from holdfast.telemetry.alerts import replica, rounds, sight, webhook
from holdfast.telemetry.histogram import Histogram
from holdfast.testing import provider, simulated


class Node:
    """Streams end on it, `errors` of a hundred with an error each round."""

    name = "a"

    def __init__(self) -> None:
        self.errors = 0
        self.passed_over: tuple[str, ...] = ()
        self.failing = False
        self.age: float | None = None
        self.unreadable = False
        self.others: Mapping[str, replica.Told | None] | None = {}
        self._total = counts.NOTHING

    def counted(self) -> counts.Counts:
        return self._total

    def archive_lag(self) -> float:
        return 0.0

    def breakers(self) -> tuple[str, ...]:
        return self.passed_over

    def log_failing(self) -> bool:
        return self.failing

    def key_age(self) -> float | None:
        return self.age

    def key_ring(self) -> bool:
        return self.unreadable

    async def ask(self) -> Mapping[str, replica.Told | None] | None:
        more = counts.Counts(streams_completed=100 - self.errors, streams_error=self.errors)
        self._total = counts.added((self._total, more))
        return self.others


class Scene:
    """A node with alerts, and a receiver that fails twice first."""

    def __init__(self, statuses: list[int], *, hooked: bool) -> None:
        self.node, self.hooked = Node(), hooked
        answers = [provider.Answer(status=one, headers=(), framing="length") for one in statuses]
        self.receiver = provider.ReplayServer(answers)
        self.alerts: rounds.Alerts

    @property
    def posts(self) -> list[Any]:
        return [asked.json() for asked in self.receiver.requests]

    async def rounds(self, count: int) -> None:
        """So many of `run`."""
        await asyncio.sleep(count * rounds.EVERY_SECONDS)


def play(
    work: Callable[[Scene], Coroutine[Any, Any, None]],
    statuses: list[int] | None = None,
    *,
    hooked: bool = True,
) -> Scene:
    scene = Scene(statuses or [200], hooked=hooked)

    async def run() -> None:
        tasks = Supervisor(pytest.fail)
        async with asyncio.timeout(100_000), scene.receiver:
            hook = webhook.Webhook(scene.receiver.url, bytes(24), transport.Transport())
            scene.alerts = rounds.Alerts(
                tuple(scenes.RULES.values()),
                scene.node,
                tasks.job,
                hook if hooked else None,
                lambda: scenes.BEGIN + int(1000 * (simulated.now() - simulated.BEGIN)),
            )
            tasks.service(scene.alerts.run(), "alerts")
            await work(scene)
            await tasks.close()

    simulated.run(run())
    return scene


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def lines(told: list[Any]) -> list[tuple[str, str, str]]:
    return [
        (one["event"], one["log_level"], one["alert"])
        for one in told
        if one["event"].startswith("alert_")
    ]


async def bad_for_a_while(scene: Scene) -> None:
    scene.node.errors = 20
    await scene.rounds(60)
    assert [one.state for one in scene.alerts.shown()] == ["firing"]
    scene.node.errors = 0
    await scene.rounds(60)
    assert scene.alerts.shown() == []


def test_a_post_that_fails_twice_first_arrives_and_so_does_the_end(told: list[Any]) -> None:
    scene = play(bad_for_a_while, [500, 500, 200, 200])
    assert [post["status"] for post in scene.posts] == ["firing"] * 3 + ["resolved"]
    assert scene.posts[0] == {
        "alert": "error_rate",
        "status": "firing",
        "severity": "critical",
        "since": "2026-09-21T14:13:20.000Z",
        "value": 0.2,
        "threshold": 0.05,
        "summary": "20 % of the streams that ended in the last 5 minutes ended with an error; the "
        "threshold is 5 %.",
        "detail": [],
        "told_by": "a",
    }
    assert scene.posts[0] == scene.posts[2]
    assert scene.posts[3]["summary"].startswith("Over: 0 % of the streams")
    assert scene.posts[3]["since"] == scene.posts[0]["since"]
    ids = [asked.headers["webhook-id"] for asked in scene.receiver.requests]
    assert len(set(ids[:3])) == 1
    assert ids[3] != ids[0]
    assert lines(told) == [
        ("alert_firing", "error", "error_rate"),
        ("alert_resolved", "info", "error_rate"),
    ]
    assert scene.alerts.sent == replica.Sent(delivered=2)


def test_without_a_webhook_it_is_logged(told: list[Any]) -> None:
    scene = play(bad_for_a_while, hooked=False)
    assert scene.posts == []
    assert [event for event, _, _ in lines(told)] == ["alert_firing", "alert_resolved"]


def test_a_second_firing_is_another_message() -> None:
    async def work(scene: Scene) -> None:
        await bad_for_a_while(scene)
        await bad_for_a_while(scene)

    scene = play(work)
    assert [post["status"] for post in scene.posts] == ["firing", "resolved"] * 2
    assert len({asked.headers["webhook-id"] for asked in scene.receiver.requests}) == 4


def test_an_end_waits_for_what_it_ends() -> None:
    """The receiver is away from before it fires until after it is over."""

    async def work(scene: Scene) -> None:
        scene.node.errors = 100
        await scene.rounds(8)
        scene.node.errors = 0
        await scene.rounds(40)
        assert scene.alerts.shown() == []
        assert scene.alerts.sent == replica.Sent(waiting=1)
        await scene.rounds(40)

    posts = play(work, [503] * 14 + [200]).posts
    assert [post["status"] for post in posts] == ["firing"] * 15 + ["resolved"]
    assert posts[15]["since"] == posts[0]["since"]


def test_one_that_cannot_be_told_holds_up_no_other(told: list[Any]) -> None:
    async def work(scene: Scene) -> None:
        scene.node.errors = 20
        await scene.rounds(8)
        assert {post["alert"] for post in scene.posts} == {"error_rate"}
        assert scene.alerts.sent == replica.Sent(waiting=1)
        scene.node.passed_over = ("vendor",)
        await scene.rounds(8)
        assert {post["alert"] for post in scene.posts} == {"error_rate", "breaker_open"}
        assert [one.name for one in scene.alerts.shown()] == ["error_rate", "breaker_open"]
        assert scene.alerts.shown()[1].summary.endswith(": vendor.")
        assert scene.alerts.shown()[1].detail == ("vendor",)
        assert ("alert_firing", "warning", "breaker_open") in lines(told)

    scene = play(work, [503])
    assert scene.alerts.sent.waiting == 0  # they ended with the node


def test_while_nobody_can_be_asked_the_leader_goes_on_by_itself() -> None:
    async def work(scene: Scene) -> None:
        await scene.rounds(3)
        scene.node.others, scene.node.errors = None, 50
        await scene.rounds(30)

    assert [post["status"] for post in play(work).posts] == ["firing"]


LATE = sight.Seen(counts.Counts(loop_lag=Histogram({800_000: 100}, 0)), dropped=200)
"""What a node tells whose event loop is late, and whose readers broke off."""


def test_a_node_too_busy_to_answer_counts_with_what_it_told_last() -> None:
    async def work(scene: Scene) -> None:
        for _ in range(5):
            scene.node.others = {"b": replica.Told(seen=LATE)}
            await scene.rounds(1)
            scene.node.others = {"b": None}
            await scene.rounds(replica.SILENT_ROUNDS - 1)
        assert {one.name: one.state for one in scene.alerts.shown()} == {
            "connection_drops": "firing",
            "loop_lag": "firing",
        }
        await scene.rounds(replica.SILENT_ROUNDS + 8)
        assert [one.name for one in scene.alerts.shown()] == ["loop_lag"]  # nobody measures it

    assert [post["status"] for post in play(work).posts] == ["firing", "firing", "resolved"]


def test_while_nobody_can_be_asked_nothing_ends_and_nobody_answers() -> None:
    async def work(scene: Scene) -> None:
        scene.node.others = {"b": replica.Told(seen=LATE)}
        await scene.rounds(10)
        assert scene.alerts.answered == {"b": True}
        scene.node.others = None
        await scene.rounds(30)
        assert scene.alerts.answered == {"b": False}
        assert {one.state for one in scene.alerts.shown()} == {"firing"}

    assert [post["status"] for post in play(work).posts] == ["firing", "firing"]


def test_a_log_that_is_down_is_told_by_a_node_that_can_ask_nobody_and_does_not_lead() -> None:
    async def work(scene: Scene) -> None:
        scene.node.others = {"A": replica.Told(True)}
        await scene.rounds(3)
        scene.node.others, scene.node.failing = None, True
        await scene.rounds(3)
        assert [(post["alert"], post["status"]) for post in scene.posts] == [
            ("log_failing", "firing")
        ]
        scene.node.others, scene.node.failing = {"A": replica.Told(True)}, False
        await scene.rounds(6)

    assert [post["status"] for post in play(work).posts] == ["firing", "resolved"]


def test_while_another_leads_nothing_is_posted_and_the_same_is_shown() -> None:
    async def work(scene: Scene) -> None:
        states = {"error_rate": msgspec.structs.replace(scenes.FIRING, told=True)}
        scene.node.others = {"b": replica.Told(True, states, replica.Sent(1, 2, 3)), "c": None}
        scene.node.errors = 50
        await scene.rounds(30)
        (shown,) = scene.alerts.shown()
        assert (shown.state, shown.since, shown.value) == ("firing", scenes.BEGIN, 0.5)
        assert scene.alerts.sent == replica.Sent(1, 2, 3)
        assert scene.alerts.answered == {"b": True, "c": False}

    assert play(work).posts == []


def test_pending_is_shown_as_such() -> None:
    async def work(scene: Scene) -> None:
        scene.node.errors = 50
        await scene.rounds(3)
        assert [(one.name, one.state) for one in scene.alerts.shown()] == [
            ("error_rate", "pending")
        ]

    assert play(work).posts == []


def test_a_node_that_has_not_looked_yet_tells_nothing_wrong() -> None:
    made = rounds.Alerts(tuple(scenes.RULES.values()), Node(), lambda work, name: None)
    assert made.told() == replica.Told()
    assert made.shown() == []


def test_a_key_that_is_not_rotated_is_told_and_so_is_its_successor() -> None:
    async def work(scene: Scene) -> None:
        scene.node.age = 1.5 * 86400
        await scene.rounds(20)
        assert scene.posts == []
        scene.node.age = 1.5 * 86400 + 1
        await scene.rounds(20)
        scene.node.age = 60.0
        await scene.rounds(20)

    assert [(post["alert"], post["status"]) for post in play(work).posts] == [
        ("key_age", "firing"),
        ("key_age", "resolved"),
    ]


def test_a_key_ring_that_is_gone_is_told_and_so_is_that_it_is_back() -> None:
    async def work(scene: Scene) -> None:
        for scene.node.unreadable in (True, False):
            await scene.rounds(20)

    assert [(post["alert"], post["status"], post["severity"]) for post in play(work).posts] == [
        ("key_ring", "firing", "critical"),
        ("key_ring", "resolved", "critical"),
    ]
