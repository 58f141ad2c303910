"""The webhook: what is posted, how it is signed, and when it is posted again.

Strategy: a real server on loopback, on an event loop whose time is simulated: a quarter of an hour
of tries takes a moment, and each wait is exact.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from holdfast import transport
from holdfast.telemetry.alerts import webhook
from holdfast.testing import listening, provider, simulated

KEY = bytes(range(24))
BODY = b'{"alert":"error_rate"}'
NOW_MS = 1_790_000_000_000


def answer(status: int) -> provider.Answer:
    return provider.Answer(status=status, headers=(), framing="length")


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


class Scene:
    """A receiver and who posts to it. `tries` are the seconds at which requests came."""

    def __init__(self, answers: Iterable[provider.Answer], key: bytes | None) -> None:
        left = list(answers)
        self.tries: list[float] = []

        def choose(request: provider.Request) -> provider.Answer:
            self.tries.append(simulated.now() - simulated.BEGIN)
            return left.pop(0) if len(left) > 1 else left[0]

        self.server = provider.ReplayServer(choose)
        self.key = key
        self.hook: webhook.Webhook

    @property
    def asked(self) -> list[provider.Request]:
        return self.server.requests


def posted(
    *answers: provider.Answer,
    key: bytes | None = KEY,
    work: Callable[[Scene], Coroutine[Any, Any, None]] | None = None,
) -> Scene:
    """One announcement, to a receiver that answers so."""
    scene = Scene(answers, key)

    async def run() -> None:
        async with asyncio.timeout(10_000), scene.server:
            # The receiver's clock is the loop's, from `NOW_MS` on.
            scene.hook = webhook.Webhook(
                f"{scene.server.url}/in?token=hush",
                key,
                transport.Transport(),
                lambda: NOW_MS + int(1000 * (simulated.now() - simulated.BEGIN)),
            )
            await (work(scene) if work else scene.hook.send("msg_1", BODY))
            await scene.hook.close()

    simulated.run(run())
    return scene


def test_one_that_fails_twice_first_gets_it_at_the_third_try() -> None:
    scene = posted(answer(500), answer(429), answer(204))
    assert (scene.hook.delivered, scene.hook.failed) == (1, 0)
    assert scene.tries == [0.0, 1.0, 3.0]
    assert {asked.headers["webhook-id"] for asked in scene.asked} == {"msg_1"}
    assert {asked.body for asked in scene.asked} == {BODY}
    times = [int(asked.headers["webhook-timestamp"]) for asked in scene.asked]
    assert times == [NOW_MS // 1000 + passed for passed in (0, 1, 3)]
    for asked, seconds in zip(scene.asked, times, strict=True):
        # By the letter of Standard Webhooks, and not by our own function.
        signed = b"msg_1.%d.%b" % (seconds, BODY)
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert asked.headers["webhook-signature"] == f"v1,{expected}"


def test_a_vector_of_standard_webhooks() -> None:
    """The example of its specification and of the libraries that verify."""
    key = webhook.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = webhook.signature(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_page_tells_how_to_verify_it() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "alerts.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    secret = "whsec_" + base64.b64encode(KEY).decode()
    for at, body, ours in ((0, BODY, True), (-1000, BODY, False), (0, BODY + b" ", False)):
        now = int(time.time()) + at
        made = webhook.signature(webhook.key_of(secret), "msg_1", now, BODY)
        headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": made}
        assert names["is_ours"](secret, headers, body) is ours


def test_without_a_secret_nothing_is_signed() -> None:
    (asked,) = posted(answer(200), key=None).asked
    assert "webhook-signature" not in asked.headers
    assert (asked.method, asked.target) == ("POST", "/in?token=hush")
    assert asked.headers["content-type"] == "application/json"


def test_it_is_tried_for_a_quarter_of_an_hour(told: list[Any]) -> None:
    scene = posted(answer(503))
    waits = [later - one for one, later in zip(scene.tries, scene.tries[1:], strict=False)]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(waits[6:]) == {60.0}
    assert webhook.GIVE_UP_SECONDS - 60 < scene.tries[-1] <= webhook.GIVE_UP_SECONDS
    assert (scene.hook.delivered, scene.hook.failed) == (0, 1)
    assert [entry["event"] for entry in told].count("webhook_failed") == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 413])
def test_a_refusal_for_good_ends_it(status: int, told: list[Any]) -> None:
    scene = posted(answer(status))
    assert (len(scene.asked), scene.hook.failed) == (1, 1)
    assert [(entry["event"], entry["error"]) for entry in told] == [
        ("webhook_failed", f"status {status}")
    ]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_one_for_now_does_not(status: int) -> None:
    scene = posted(answer(status), answer(200))
    assert (len(scene.asked), scene.hook.delivered) == (2, 1)


class Mute(listening.Listener):
    """Takes what comes and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(simulated.now() - simulated.BEGIN)
        while await reader.read(4096):
            pass


def test_an_answer_that_does_not_come_is_no_answer() -> None:
    async def run() -> None:
        async with asyncio.timeout(10_000), Mute() as mute:
            hook = webhook.Webhook(f"http://127.0.0.1:{mute.port}", KEY, transport.Transport())
            await hook.send("msg_1", BODY)
            await hook.close()
        assert mute.asked[:3] == [0.0, webhook.TRY_SECONDS + 1, 2 * webhook.TRY_SECONDS + 3]
        assert hook.failed == 1

    simulated.run(run())


def test_nobody_at_the_address(told: list[Any]) -> None:
    async def work(scene: Scene) -> None:
        await scene.server.close()
        await scene.hook.send("msg_1", BODY)

    scene = posted(answer(200), work=work)
    assert scene.hook.failed == 1
    assert scene.asked == []
    assert "hush" not in str(told)
    assert BODY.decode() not in str(told)


def test_what_is_no_address() -> None:
    with pytest.raises(ValueError, match="url"):
        webhook.Webhook("hooks.example", KEY, transport.Transport())
