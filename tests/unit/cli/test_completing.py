"""The scripts for shells are click's, made for our name; and every command explains itself."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click import shell_completion, testing

from holdfast.cli import completing, main


@pytest.mark.parametrize("shell", completing.SHELLS)
def test_a_script_for_each_shell(shell: str) -> None:
    done = testing.CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_HOLDFAST_COMPLETE={shell}_complete" in done.stdout
    assert "_holdfast_completion" in done.stdout


def test_another_shell_is_a_wrong_use() -> None:
    assert testing.CliRunner().invoke(main, ["completion", "csh"]).exit_code == 2


@pytest.mark.parametrize(
    ("args", "begun", "found"),
    [
        ([], "st", ["streams"]),
        (["streams"], "c", ["cancel"]),
        (["streams", "list", "--status"], "c", ["completed", "cancelled"]),
        (["tail"], "--re", ["--reasoning"]),
    ],
)
def test_what_a_shell_is_offered(args: list[str], begun: str, found: list[str]) -> None:
    complete = shell_completion.ShellComplete(main, {}, "holdfast", "_HOLDFAST_COMPLETE")
    assert [item.value for item in complete.get_completions(args, begun)] == found


def commands(group: click.Group, *names: str) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*names, name]
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


@pytest.mark.parametrize("command", [[], *commands(main)], ids=" ".join)
def test_every_command_has_examples(command: list[str]) -> None:
    done = testing.CliRunner().invoke(main, [*command, "--help"], prog_name="holdfast")
    assert done.exit_code == 0
    usage, examples = done.output.split("\nExamples:\n")
    name = " ".join(["holdfast", *command])
    assert usage.startswith(f"Usage: {name} ")
    assert f"  {name}" in examples
    assert max(map(len, usage.splitlines())) <= 80


def test_the_exit_codes_are_told() -> None:
    done = testing.CliRunner().invoke(main, ["--help"])
    table = done.output.split("\nExit codes:\n")[1]
    assert [line.split()[0] for line in table.splitlines()] == ["0", "1", "2", "130"]
