"""The suite's own promise: what is required is never skipped, and every skip is counted.

Strategy: a small suite with this repository's conftest runs in a process of its own, and its
outcome is read as a person would read it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import conftest

pytest_plugins = ["pytester"]

SUITE = """
def test_program(require):
    assert require("nginx").name == "nginx"

def test_files(shared):
    assert shared.name == "files"

def test_settings():
    import os
    assert "HOLDFAST_PORT" not in os.environ
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite where neither the program nor the shared files are to be had."""
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(SUITE)
    here = Path(__file__).resolve().parent.parent
    pytester.makeini(
        f"[pytest]\nasyncio_default_fixture_loop_scope = function\npythonpath = {here}\n"
        "addopts = -pno:schemathesis -pno:langsmith_plugin\n"
    )
    monkeypatch.setenv("HOLDFAST_PORT", "1")
    monkeypatch.setenv("HOLDFAST_SHARED", "none")
    monkeypatch.setenv("HOLDFAST_REQUIRE", "")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    return pytester


def forget(suite: pytest.Pytester, program: str) -> None:
    """Makes the suite look for a program that nobody has."""
    conftest = suite.path / "conftest.py"
    text = conftest.read_text(encoding="utf-8").replace(f'"{program}",', '"no-such-program",')
    conftest.write_text(text, encoding="utf-8")


def test_files_that_wait_stand_among_those_that_compute() -> None:
    names = ("faults/a", "faults/b", "unit/a", "unit/b/c", "unit/d", "unit/e", "test_f")
    place = conftest.spread([conftest.HERE / name for name in names])
    order = sorted(place, key=lambda file: place[file])
    said = [file.relative_to(conftest.HERE).parts[0] for file in order]
    assert said == ["faults", "unit", "test_f", "unit", "faults", "unit", "unit"]


def test_what_is_missing_is_skipped_counted_and_named(suite: pytest.Pytester) -> None:
    forget(suite, "nginx")
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(
        ["*1 skipped: nginx is not installed*", "*::test_program"], consecutive=True
    )
    result.stdout.fnmatch_lines(
        ["*1 skipped: the shared recordings*", "*::test_files"], consecutive=True
    )


def test_what_is_missing_fails_where_it_is_required(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(suite, "nginx")
    monkeypatch.setenv("HOLDFAST_REQUIRE", "nginx shared")
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1, failed=1)
    result.stdout.fnmatch_lines(["*nginx is not installed, and HOLDFAST_REQUIRE names nginx*"])


def test_what_is_there_is_given(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    files = suite.mkdir("files")
    program = suite.mkdir("bin") / "nginx"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("HOLDFAST_SHARED", str(files))
    suite.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_folder_that_is_not_there_is_a_mistake(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_SHARED", "no/such/folder")
    result = suite.runpytest_subprocess("-k", "test_files")
    result.assert_outcomes(errors=1, deselected=2)


def test_a_misspelt_requirement_stops_the_run(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_REQUIRE", "ngnix")
    result = suite.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*HOLDFAST_REQUIRE names*ngnix*"])
