"""The synchronous client against a real server: from threads, in a running loop, forgotten.

Ctrl-C is in tests/unit/client/test_synchronous.py.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.integration import harness, processes, server_in_thread

import holdfast
from holdfast import errors, events

FAST = "/demo rate=10000 tokens=50 unicode=1"


@pytest.fixture(scope="module")
def server() -> Iterator[harness.Running]:
    with server_in_thread.running() as running:
        yield running


def asked(server: harness.Running, opened: holdfast.Client, prompt: str = FAST) -> str:
    """Asks and checks one answer; its text."""
    with opened.stream(model="demo", prompt=prompt) as answer:
        texts = list(answer.text_stream)
        final = answer.final()
    assert "".join(texts) == final.choice().content == answer.so_far.choice().content
    assert opened.get(answer.stream_id)["content"] == "".join(texts)
    assert answer.reconnects == 0
    return "".join(texts)


def test_an_answer_and_all_that_can_be_asked_of_it(server: harness.Running) -> None:
    with holdfast.Client(server.url) as opened:
        text = asked(server, opened)
        entry = opened.streams(limit=1)["streams"][0]
        assert opened.cancel(entry["id"])["status"] == "completed"
        with opened.resume(entry["id"]) as answer:
            seen = list(answer)
            assert list(answer) == []
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        with opened.resume(entry["id"], after=seen[4].position) as answer:
            assert [event.data for event in answer] == [event.data for event in seen[5:]]
            assert answer.final().choice().content == text
            assert answer.position == seen[-1].position


def test_errors_are_of_the_same_classes(server: harness.Running) -> None:
    with holdfast.Client(server.url) as opened:
        with opened.stream(model="demo", prompt="/demo error_at=2 rate=1000") as answer:
            with pytest.raises(errors.AnswerFailed) as failed:
                list(answer.text_stream)
            assert failed.value.code == "provider_failed"
            with pytest.raises(errors.AnswerFailed):
                answer.final()
        assert isinstance(list(opened.resume(answer.stream_id).__enter__())[-1].body, events.Error)
        with pytest.raises(errors.RequestRefused), opened.stream(model="nothing", prompt="x"):
            pass
        with pytest.raises(errors.StreamNotFound):
            opened.get("nonsense")
        with pytest.raises(errors.ClientError, match="closed"):
            next(opened.resume(answer.stream_id))  # not entered
        with opened.resume(answer.stream_id) as answer:
            opened.close()  # the block ends all the same


async def test_it_works_where_an_event_loop_runs(server: harness.Running) -> None:
    assert asyncio.get_running_loop().is_running()
    with holdfast.Client(server.url) as opened:
        assert asked(server, opened)


def test_threads_share_a_client(server: harness.Running) -> None:
    texts: dict[int, str] = {}

    def ask(seed: int) -> None:
        texts[seed] = asked(server, opened, f"{FAST} seed={seed}")

    with holdfast.Client(server.url) as opened:
        threads = [threading.Thread(target=ask, args=[seed]) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.PATIENCE)
        alone = {seed: asked(server, opened, f"{FAST} seed={seed}") for seed in range(4)}
    assert texts == alone


def test_closing_wakes_who_waits(server: harness.Running) -> None:
    told: list[str] = []
    with holdfast.Client(server.url) as opened:
        with opened.stream(model="demo", prompt="/demo stall_at=1 rate=1000") as answer:
            next(answer)

            def read() -> None:
                try:
                    list(answer)
                except errors.ClientError as error:
                    told.append(error.message)

            thread = threading.Thread(target=read)
            thread.start()
            opened.close()
            thread.join(harness.PATIENCE)
        opened_again = holdfast.Client(server.url)
        opened_again.cancel(answer.stream_id)
        opened_again.close()
    (why,) = told
    assert "closed" in why


FORGOTTEN = """
import sys
from holdfast import Client
client = Client(sys.argv[1])
answer = client.stream(model="demo", prompt="/demo stall_at=1 rate=1000").__enter__()
print(next(answer.text_stream), flush=True)
{end}
"""
ENDS = {"falls off": "", "exits": "sys.exit()", "fails": "raise SystemExit(0)", "fork": """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from 3.12
if not (child := os.fork()):
    try:
        client.streams()
    except Exception as error:
        told = type(error).__name__ == "ClientError" and "another process" in str(error)
        sys.exit(0 if told else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""}  # fmt: skip


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_one_that_is_forgotten_ends_with_the_program(
    end: str, server: harness.Running
) -> None:
    """In development mode, where everything that was left open is warned of."""
    program = FORGOTTEN.format(end=end)
    command = (sys.executable, "-X", "dev", "-c", program, server.url)
    done = await processes.run(command=command)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip()
