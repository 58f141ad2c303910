"""The parent of workers: what it starts, what it notices, how it ends.

Strategy: each case is a script in a process of its own, whose workers do as little as the case
needs; they tell what they do on stdout, a line each. Whole servers are in
tests/integration/test_workers.py.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.cli import workers

SOURCE = Path(__file__).resolve().parents[3] / "src"
PATIENCE = 30.0

BEGIN = """
import os, signal, subprocess, sys, time
import structlog
from holdfast import errors
from holdfast.cli import workers

workers.PAUSE_SECONDS = 0.0
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
PARENT = os.getpid()

def tell(*said):
    os.write(1, (" ".join(map(str, said)) + "\\n").encode())

def run(count, work, **more):
    try:
        code = workers.Workers(count, work, **more).run()
    except errors.HoldfastError as error:
        tell(error.message)
        code = 1
    finally:
        # A worker would come here if it did not end where it was to.
        tell("parent" if os.getpid() == PARENT else "stray", "ends")
    sys.exit(code)

def idle():
    # Not signal.pause: a signal just before it would be handled with the next one.
    for _ in range(10_000):
        time.sleep(0.01)

def serve(serves):
    if serves:
        serves()
    idle()
"""


class Script:
    """A running script."""

    def __init__(self, text: str, start: Callable[[], object] | None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + textwrap.dedent(text)],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            preexec_fn=start,
        )

    def line(self) -> str:
        """The next that it tells; "" where there is none."""
        assert self.process.stdout is not None
        said, pipe = b"", self.process.stdout.fileno()
        while not said.endswith(b"\n"):
            assert select.select([pipe], [], [], PATIENCE)[0], f"nothing after {said!r}"
            piece = os.read(pipe, 1)
            if not piece:
                break
            said += piece
        return said.decode().strip()

    def end(self, *how: signal.Signals) -> tuple[int, list[str], str]:
        """Sends signals, and waits: exit code, the other lines, and stderr."""
        for one in how:
            self.process.send_signal(one)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode().splitlines(), err.decode()


Start = Callable[..., Script]


@pytest.fixture
def script() -> Iterator[Start]:
    """Starts scripts; what of them still runs is killed at the end."""
    started: list[Script] = []

    def start(text: str, before: Callable[[], object] | None = None) -> Script:
        started.append(Script(text, before))
        return started[-1]

    yield start
    for one in started:
        with one.process as process:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_the_signal_meets_before_its_handler_has_ended_well(
    how: signal.Signals, script: Start
) -> None:
    running = script("""
    def work(number, serves):
        if not serves:
            tell("both")
        serve(serves)
    run(2, work)
    """)
    assert running.line() == "both"
    assert running.end(how) == (0, ["parent ends"], "")


def test_a_worker_is_not_ended_by_what_its_parent_was_told_to_ignore(script: Start) -> None:
    """As `nohup` tells it."""
    running = script(
        """
        def work(number, serves):
            serves()
            tell(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
            tell(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
            idle()
        run(1, work)
        """,
        lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert (running.line(), running.line()) == ("True", "True")
    running.process.send_signal(signal.SIGHUP)
    assert running.end(signal.SIGTERM) == (0, ["parent ends"], "")


def test_a_signal_at_a_birth_reaches_each_worker_once(script: Start) -> None:
    """A child is a copy of its parent: what the parent has for signals must not run in it."""
    running = script("""
    births = []
    def born():
        if len(births) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
    os.register_at_fork(before=lambda: births.append(1), after_in_child=born)

    def first(serves):
        signal.signal(signal.SIGTERM, lambda *_: tell("told"))
        serves()
        while True:
            idle()

    def work(number, serves):
        if serves:
            first(serves)
        tell("born again" if len(births) == 3 else "born")
        idle()
    run(2, work)
    """)
    assert running.line() == "born again"
    running.process.send_signal(signal.SIGTERM)
    assert running.line() == "told"


def test_the_end_of_a_process_that_is_none_of_its_own_starts_nothing(script: Start) -> None:
    """The first process of a container inherits whoever has lost his parent."""
    running = script("""
    subprocess.Popen(["true"])
    def work(number, serves):
        tell(f"worker {number}")
        if serves:
            serves()
            os.kill(os.getpid(), signal.SIGKILL)
        idle()
    run(1, work)
    """)
    assert [running.line(), running.line()] == ["worker 0"] * 2
    code, told, said = running.end(signal.SIGTERM)
    assert (code, told) == (0, ["parent ends"])
    assert said.count("worker_ended") == 1


def test_workers_can_be_waited_for_where_children_are_ignored(script: Start) -> None:
    running = script(
        """
        workers.unwind_at_signals()
        def work(number, serves):
            serves()
            tell("serves")
            idle()
        run(1, work)
        """,
        lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert running.line() == "serves"
    assert running.end(signal.SIGTERM) == (0, ["parent ends"], "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_worker_ends_as_one_without_a_stream_too(stream: str, script: Start) -> None:
    """As a shell closes it with `>&-`; a worker that unwinds would undo what is its parent's."""
    running = script(f"""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    sys.{stream} = None
    def work(number, serves):
        if serves:
            serves()
            return 0
        tell("replaced")
        idle()
    run(1, work)
    """)
    assert running.line() == "replaced"
    assert running.end(signal.SIGTERM) == (0, ["parent ends"], "")


def test_workers_that_end_at_once_again_and_again_end_the_whole(script: Start) -> None:
    running = script("""
    def work(number, serves):
        tell("worker")
        if serves:
            serves()
        return 3
    run(1, work)
    """)
    code, told, said = running.end()
    *born, why, last = told
    assert (code, born, last) == (1, ["worker"] * workers.QUICK_ENDS, "parent ends")
    assert why.startswith("Workers end as soon as they begin, the last one with code 3.")
    assert said.count("worker_ended") == workers.QUICK_ENDS


def test_the_others_end_with_it_and_a_long_life_is_none_of_those(script: Start) -> None:
    running = script("""
    clock = [0.0]
    time.monotonic = lambda: clock[0]
    ends = []
    _ended = workers.Workers._ended
    def ended(self, *how):
        ends.append(1)
        clock[0] += workers.QUICK_SECONDS if len(ends) == 4 else 0.0
        return _ended(self, *how)
    workers.Workers._ended = ended

    def work(number, serves):
        if serves:
            serves()
            signal.signal(signal.SIGTERM, lambda *_: tell("stopped") or os._exit(0))
            while True:
                idle()
        return 0
    run(2, work)
    """)
    code, told, said = running.end()
    assert (code, told[0], told[-1]) == (1, "stopped", "parent ends")
    assert said.count("worker_ended") == 4 + workers.QUICK_ENDS


def test_a_first_worker_that_cannot_serve_is_not_tried_again(script: Start) -> None:
    running = script("""
    def work(number, serves):
        tell("worker")
        return 1
    run(3, work)
    """)
    assert running.end() == (1, ["worker", "parent ends"], "")


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "code=-9"),
        ("raise ValueError('a secret')", "ValueError"),
        ("{}['a secret']", "KeyError"),
    ],
)
def test_how_a_first_worker_failed_is_told(end: str, why: str, script: Start) -> None:
    running = script(f"""
    def work(number, serves):
        {end}
    run(1, work)
    """)
    code, told, said = running.end()
    assert (code, told) == (1, ["parent ends"])
    assert why in said
    assert "secret" not in said


def test_what_they_need_ends_them_when_it_is_gone(script: Start) -> None:
    """And nobody waits for what cannot be finished: the second signal tells them."""
    running = script("""
    needed = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    def work(number, serves):
        told = []
        def stop(number, _):
            told.append(number)
            if len(told) == 2:
                tell("hurries")
                os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        if serves:
            serves()
        tell("serves", needed.pid)
        while True:
            idle()
    group = workers.Workers(2, work, needed=needed.pid)
    code = group.run()
    tell("parent ends", group.lost)
    sys.exit(code)
    """)
    (_, pid), _ = running.line().split(), running.line()
    os.kill(int(pid), signal.SIGKILL)
    assert running.end() == (1, ["hurries", "hurries", "parent ends -9"], "")


def test_a_second_signal_reaches_them_too(script: Start) -> None:
    running = script("""
    def work(number, serves):
        told = []
        def stop(*_):
            tell("told")
            told.append(1)
            if len(told) == 2:
                os._exit(0)
        signal.signal(signal.SIGTERM, stop)
        serves()
        tell("serves")
        while True:
            idle()
    run(1, work, stopping=lambda: tell("stopping"))
    """)
    assert running.line() == "serves"
    running.process.send_signal(signal.SIGINT)
    assert sorted([running.line(), running.line()]) == ["stopping", "told"]
    code, told, said = running.end(signal.SIGTERM)
    assert (code, sorted(told), said) == (0, ["parent ends", "stopping", "told"], "")


def test_a_signal_before_there_are_workers_unwinds(script: Start) -> None:
    """And the next one does not interrupt that."""
    running = script("""
    workers.unwind_at_signals()
    try:
        tell("begun")
        time.sleep(60)
    finally:
        os.kill(PARENT, signal.SIGTERM)
        tell("undone")
    """)
    assert running.line() == "begun"
    assert running.end(signal.SIGTERM) == (128 + signal.SIGTERM, ["undone"], "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_workers_end_with_a_parent_that_is_killed(script: Start) -> None:
    running = script("""
    def work(number, serves):
        signal.signal(signal.SIGTERM, lambda *_: tell("left") or os._exit(0))
        if serves:
            serves()
        tell("serves")
        while True:
            idle()
    run(2, work)
    """)
    assert [running.line(), running.line()] == ["serves"] * 2
    code, told, _ = running.end(signal.SIGKILL)
    assert (code, told) == (-signal.SIGKILL, ["left"] * 2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_who_is_born_after_its_parent_has_gone_ends_at_once(script: Start) -> None:
    running = script("""
    if os.fork() == 0:
        workers.die_with_parent(parent=1 << 30)
        tell("lives on")
        os._exit(0)
    tell(os.waitstatus_to_exitcode(os.wait()[1]))
    """)
    assert running.end() == (0, ["1"], "")
