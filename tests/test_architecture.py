"""The rules of the house that the linters cannot say, checked on every file.

Strategy: each rule is a pure function from a path and a source text (or from lists of paths
and a document) to a list of complaints. Its tests run it over the repository and want
none, and over a bad sample and want one: so no rule can pass for being blind.
Imports between layers are import-linter's work; its contracts are in pyproject.toml.

"Code lines" of a function are its lines without blank ones, comments and docstrings.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import shutil
import subprocess
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from holdfast.http import routes
from holdfast.settings import schema, tables

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "holdfast"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
P95_FUNCTION_LINES = 30
MAX_TRACKED_BYTES = 300_000

# The exceptions, by path below src/holdfast. Each list is complete: what is not here may not.
MAY_IMPORT_LATE = {
    "archive/url.py",
    "eventlog/url.py",
    "providers/registry.py",
    "telemetry/otel/__init__.py",
}
MAY_START_TASKS = {
    "supervisor.py",
    "testing/simulated.py",
    "testing/simulation/node.py",
    "testing/simulation/running.py",
}
MAY_READ_ENVIRONMENT = {"environment.py"}

Functions = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[str, str], list[str]]


def python_files(folder: Path) -> Iterator[tuple[str, str]]:
    """(path below `folder`, source) of every Python file in it."""
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")


SOURCES = list(python_files(SOURCE))


def complaints(rule: Rule, sources: Iterable[tuple[str, str]]) -> list[str]:
    return [complaint for path, source in sources for complaint in rule(path, source)]


# Sizes


def long_file(path: str, source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{path}: {lines} lines, over {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []


def test_no_file_is_long() -> None:
    assert complaints(long_file, SOURCES) == []
    assert long_file("x.py", "x = 1\n" * (MAX_FILE_LINES + 1))
    assert not long_file("x.py", "x = 1\n" * MAX_FILE_LINES)


def code_line_numbers(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent and token.type != tokenize.ENDMARKER:
            numbers.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | Functions) and ast.get_docstring(node):
            docstring = node.body[0]
            numbers.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return numbers


@functools.cache  # looked at by two rules
def function_lengths(path: str, source: str) -> list[tuple[int, str]]:
    """(code lines, where) of every function, the `def` line counted, decorators not."""
    code = code_line_numbers(source)
    return [
        (len(code.intersection(range(node.lineno, (node.end_lineno or 0) + 1))), where)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, Functions)
        for where in [f"{path}:{node.lineno} {node.name}"]
    ]


def long_function(path: str, source: str) -> list[str]:
    lengths = function_lengths(path, source)
    return [f"{where}: {n} code lines" for n, where in lengths if n > MAX_FUNCTION_LINES]


def percentile_95(values: list[int]) -> int:
    """The value that 95 of 100 do not exceed, by nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1] if ordered else 0


def function_of(code_lines: int) -> str:
    padding = '    """Says\n\n    much."""\n\n    # why\n'
    return "def f():\n" + padding + "    x = 1\n" * (code_lines - 1)


def test_no_function_is_long() -> None:
    assert complaints(long_function, SOURCES) == []
    assert long_function("x.py", function_of(MAX_FUNCTION_LINES + 1))
    assert not long_function("x.py", function_of(MAX_FUNCTION_LINES))


def test_most_functions_are_short() -> None:
    lengths = [n for path, source in SOURCES for n, _ in function_lengths(path, source)]
    assert percentile_95(lengths) <= P95_FUNCTION_LINES
    assert percentile_95([10] * 94 + [50] * 6) == 50
    assert percentile_95([10] * 95 + [50] * 5) == 10


# What stands in a module


def no_docstring(path: str, source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else [f"{path}: opens with no docstring"]


def test_each_module_opens_with_its_strategy() -> None:
    assert complaints(no_docstring, SOURCES) == []
    for folder in ["tests", "bench"]:
        assert complaints(no_docstring, python_files(ROOT / folder)) == []
    assert no_docstring("x.py", "import os\n'too late'\n")
    assert not no_docstring("x.py", '"""First."""\n')


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, root package) of every import below `tree`; a relative one is the package's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            name = "holdfast" if node.level else node.module or ""
            yield node.lineno, name.partition(".")[0]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]


def late_import(path: str, source: str) -> list[str]:
    """Imports of the package inside a function: a cycle can hide there."""
    if path in MAY_IMPORT_LATE:
        return []
    found: set[int] = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, Functions):
            found.update(line for line, name in imports(function) if name == "holdfast")
    return [f"{path}:{line}: imports the package inside a function" for line in sorted(found)]


def test_imports_of_the_package_stand_at_the_top() -> None:
    assert complaints(late_import, SOURCES) == []


@pytest.mark.parametrize(
    "line", ["from holdfast import errors", "import holdfast.errors", "from . import errors"]
)
def test_a_late_import_is_seen(line: str) -> None:
    assert late_import("x.py", f"def f():\n    if x:\n        {line}\n")
    assert not late_import("x.py", f"{line}\ndef f():\n    import json\n")
    assert not late_import("eventlog/url.py", f"def f():\n    {line}\n")


def started_task(path: str, source: str) -> list[str]:
    if path in MAY_START_TASKS:
        return []
    starters = {"create_task", "ensure_future"}
    return [
        f"{path}:{node.lineno}: starts a task"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        if (isinstance(node.func, ast.Attribute) and node.func.attr in starters)
        or (isinstance(node.func, ast.Name) and node.func.id in starters)
    ]


def test_tasks_have_one_owner() -> None:
    assert complaints(started_task, SOURCES) == []


@pytest.mark.parametrize(
    "call", ["asyncio.create_task(f())", "ensure_future(f())", "group.create_task(f())"]
)
def test_a_started_task_is_seen(call: str) -> None:
    assert started_task("service.py", f"async def g():\n    {call}\n")
    assert not started_task("supervisor.py", f"async def g():\n    {call}\n")


def environment_read(path: str, source: str) -> list[str]:
    if path in MAY_READ_ENVIRONMENT:
        return []
    names = {"environ", "environb", "getenv", "getenvb"}
    used = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            used.add(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            used.update(node.lineno for alias in node.names if alias.name in names)
    return [f"{path}:{line}: reads the environment" for line in sorted(used)]


def test_the_environment_is_read_in_one_place() -> None:
    assert complaints(environment_read, SOURCES) == []


@pytest.mark.parametrize(
    "line", ["x = os.environ['A']", "os.getenv('A')", "from os import environ"]
)
def test_a_read_of_the_environment_is_seen(line: str) -> None:
    assert environment_read("service.py", f"import os\n{line}\n")
    assert not environment_read("environment.py", f"import os\n{line}\n")


def loose_end(path: str, source: str) -> list[str]:
    """Notes to do it later, and lines hidden from the coverage."""
    return [
        f"{path}:{token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
        and re.search(r"\b(TODO|FIXME|XXX)\b|pragma: no (cover|branch)", token.string)
    ]


def test_nothing_is_left_for_later() -> None:
    assert complaints(loose_end, SOURCES) == []
    assert loose_end("x.py", "x = 1  # TODO: two\n")
    assert loose_end("x.py", "if x:  # pragma: no cover\n    pass\n")


# The documents


def named_paths(document: str) -> set[str]:
    """The words of a document that look like a path: `a/b.py`, `PROTOCOL.md`, `docs/`."""
    files = re.findall(r"(?<![\w./:*-])((?:[\w.-]+/)*[\w.-]+\.(?:py|md|lock))\b", document)
    folders = re.findall(r"`((?:[\w.-]+/)+)`", document)
    return {*files, *folders}


def undocumented_modules(modules: Iterable[str], document: str) -> list[str]:
    """The modules (paths below src/holdfast) that the document does not name."""
    named = {path.removeprefix("src/holdfast/") for path in named_paths(document)}
    return [path for path in modules if path not in named]


def dead_paths(document: str, exists: set[str]) -> list[str]:
    """The paths that the document names, from the root or below src/holdfast, in vain."""
    named = {path.rstrip("/") for path in named_paths(document)}
    return sorted(path for path in named if not {path, f"src/holdfast/{path}"} & exists)


def repository_paths() -> set[str]:
    skipped = {".git", ".venv", "__pycache__"}
    found = {path.relative_to(ROOT) for path in ROOT.rglob("*")}
    return {path.as_posix() for path in found if not skipped & set(path.parts)}


def test_architecture_names_every_module_and_no_other() -> None:
    document = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    # A package's own file is named with the package.
    modules = [path for path, _ in SOURCES if not path.endswith("/__init__.py")]
    assert undocumented_modules(modules, document) == []
    assert dead_paths(document, repository_paths()) == []


def test_the_map_is_read_right() -> None:
    map_ = "| `http/sse.py` | and src/holdfast/app.py, `docs/gone/` |\n"
    assert undocumented_modules(["sse.py", "http/sse.py", "app.py"], map_) == ["sse.py"]
    existing = {"src/holdfast/http/sse.py", "src/holdfast/app.py"}
    assert dead_paths(map_, existing) == ["docs/gone"]
    assert dead_paths(map_, existing | {"docs/gone"}) == []


def undocumented_settings(settings: Mapping[str, str], document: str) -> list[str]:
    """The settings (dotted name to description) whose name the document does not have in
    backquotes, or whose description it does not repeat word for word."""
    words = " ".join(document.split())
    return [
        name
        for name, description in settings.items()
        if f"`{name}`" not in words or " ".join(description.split()) not in words
    ]


def test_every_setting_is_documented() -> None:
    known = schema.meanings()
    assert known.keys() == tables.KNOWN.keys()
    document = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert undocumented_settings(known, document) == []


def test_the_settings_are_read_right() -> None:
    document = "| `server.host` | Where\nit listens. |\n| `server.port` | Something else. |"
    settings = {"server.host": "Where it\nlistens.", "server.port": "TCP.", "log.url": "Where"}
    assert undocumented_settings(settings, document) == ["server.port", "log.url"]


def undocumented_routes(table: Iterable[tuple[str, str]], document: str) -> list[str]:
    """The routes (method, path) that the document does not name as `METHOD /path`; what a
    parameter is called does not matter."""
    nameless = re.sub(r"{[^}]*}", "{}", document)
    named = set(re.findall(r"\b([A-Z]+ /[^\s`?|,;)]*)", nameless))
    wanted = {f"{method} {path}": re.sub(r"{[^}]*}", "{}", path) for method, path in table}
    return [route for route, path in wanted.items() if f"{route.split()[0]} {path}" not in named]


def test_every_route_is_in_the_protocol() -> None:
    document = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
    table = [(row.method, row.path) for row in routes.ROWS]
    assert undocumented_routes(table, document) == []


def test_the_protocol_is_read_right() -> None:
    table = [("GET", "/a/{id:str}"), ("POST", "/a/{id:str}"), ("POST", "/b")]
    document = "`GET /a/{stream}?after=x` or POST /bc, but not `/b`"
    assert undocumented_routes(table, document) == ["POST /a/{id:str}", "POST /b"]


# The tree


def unmirrored(tests: Iterable[str], modules: set[str]) -> list[str]:
    """The unit tests whose module is not there. Paths are below tests/unit and src/holdfast:
    X/test_Y.py, or X/test_Y_topic.py where one file would be long, tests X/Y.py."""

    def mirrored(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        words = name.removeprefix("test_").removesuffix(".py").split("_")
        names = ["_".join(words[: n + 1]) for n in range(len(words))]
        return any(f"{folder}/{name}.py".lstrip("/") in modules for name in names)

    return [path for path in tests if "/test_" in f"/{path}" and not mirrored(path)]


def test_unit_tests_mirror_the_source() -> None:
    modules = {"a.py", "b/c_d.py"}
    tests = [path for path, _ in python_files(ROOT / "tests" / "unit")]
    assert unmirrored(tests, {path for path, _ in SOURCES}) == []
    good = ["test_a.py", "test_a_limits.py", "b/test_c_d.py", "b/replay.py"]
    bad = ["test_c_d.py", "b/test_a.py", "b/test_c.py", "test_ab.py"]
    assert unmirrored(good + bad, modules) == bad


def misplaced_file(path: str, size: int) -> list[str]:
    """A tracked file of `size` bytes that is too large, or that a command can make again."""
    made = r"(^|/)(__pycache__|build|dist|node_modules|\.venv|\.\w+_cache|.*\.egg-info)/"
    suffix = r"\.(pyc|pyo|so|o|whl|gz|zip|db|db-wal|db-shm|log)$|(^|/)\.coverage$"
    found = [f"{path}: {size} bytes"] if size > MAX_TRACKED_BYTES else []
    return found + ([f"{path}: made, not written"] if re.search(f"{made}|{suffix}", path) else [])


def test_only_what_people_write_is_tracked() -> None:
    for path in ["dist/a.py", "src/x/__pycache__/a.txt", "a.egg-info/b", "holdfast.db", "a.pyc"]:
        assert misplaced_file(path, 1)
    assert misplaced_file("a.md", MAX_TRACKED_BYTES + 1)
    assert not misplaced_file("docs/building.md", MAX_TRACKED_BYTES)
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this tree is not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    tracked = [name for name in listed.split("\0") if (ROOT / name).is_file()]
    sized = [(name, (ROOT / name).stat().st_size) for name in tracked]
    assert [complaint for name, size in sized for complaint in misplaced_file(name, size)] == []
