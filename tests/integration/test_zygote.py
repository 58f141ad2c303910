"""A fork of the zygote does what a whole process does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.integration import processes, zygote


async def test_a_fork_says_what_a_whole_process_says(tmp_path: Path) -> None:
    env = {"HOLDFAST_SERVER__PORT": "none", "HOLDFAST_LOG__URL": "memory://"}
    mistake = ("config", "check")
    forked = await processes.run(*mistake, folder=tmp_path, env=env)
    whole = await processes.run(*mistake, folder=tmp_path, env=env, command=processes.COMMAND)
    assert forked == whole
    assert forked.code == 1
    assert "a whole number" in forked.err
    # Nothing of one start is there in the next.
    assert (await processes.run(*mistake, folder=tmp_path)).code == 0


async def test_it_has_its_own_input_and_folder(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[server]\nport = 7\n")
    done = await processes.run("config", "show", folder=tmp_path)
    assert "holdfast.toml" in done.out
    asked = await processes.run("ask", "--url", "http://127.0.0.1:1", stdin=b"Hello?")
    assert (asked.code, "gave_up" in asked.err) == (1, True)
    nothing = await processes.run("ask", "--url", "http://127.0.0.1:1")
    assert nothing.code == 2, nothing


async def test_signals_are_its_own(tmp_path: Path) -> None:
    async with (
        processes.serving("--log-url", "memory://", folder=tmp_path) as one,
        processes.serving("--log-url", "memory://", folder=tmp_path) as other,
    ):
        assert one.process.pid != other.process.pid
        assert (await one.end(signal.SIGKILL)).code == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            one.process.kill()
        assert other.process.returncode is None
        assert (await other.end(signal.SIGTERM)).code == 0


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONWARNINGS", "TMPDIR"])
def test_what_an_interpreter_reads_as_it_begins_takes_a_whole_process(name: str) -> None:
    assert not zygote.follows({"HOLDFAST_SERVER__PORT": "0", name: "x"})
    assert zygote.follows({"HOLDFAST_SERVER__PORT": "0"})
    assert zygote.follows(None)
