"""What README and the examples tell people to type does what they say.

Strategy: commands and programs are taken from the documents as they stand; only the address, the
ids and the demo's patience are put in. An example that is added is run without being named here.
"""

from __future__ import annotations

import ast
import asyncio
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration import asking, harness, other_servers, processes

from holdfast import app, environment, settings
from holdfast.archive import url as archive_url
from holdfast.archive.postgres import archive as postgres
from holdfast.eventlog import url
from holdfast.eventlog.redis import engine as redis_engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SOURCES = {path: path.read_text(encoding="utf-8") for path in EXAMPLES}
SERVED = [path for path, source in SOURCES.items() if "\napp = " in source]
"""Those that are applications, for a server."""
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8080"


def blocks(language: str, document: str = README) -> list[str]:
    """The code blocks of a document in a language; `` is none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The command lines of README that start with a program, read as a shell does."""
    lines = [line for block in blocks("") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(program)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


def put_in(text: str, server: harness.Running) -> str:
    """With the server's address, and the demo in a hurry."""
    return text.replace(ADDRESS, f"127.0.0.1:{server.port}").replace('"demo"', '"demo-fast"')


SHOWS = {
    "embedded.py": r"1 start \{.*\n\d+-\d+ complete \{.*\ncompleted \d+ characters\n",
    "keys_from_kms.py": r"\d+ characters, readable on disk: False\n",
    "sessions.py": r"alice: completed, \d+ char.*\nbob: stream_not_found\nnobody: unauthorized\n",
}
"""What an example prints, where more is known than that it prints something."""


@pytest.mark.parametrize("example", sorted({*EXAMPLES} - {*SERVED}), ids=lambda path: path.name)
async def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    done = await processes.run(str(example), command=(sys.executable,), folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert re.search(SHOWS.get(example.name, "."), done.out, re.DOTALL)


@pytest.mark.parametrize("example", SERVED, ids=lambda path: path.name)
async def test_an_application_answers_what_it_says_to_ask(
    example: Path, tmp_path: Path, require: Callable[[str], Path]
) -> None:
    require("curl")
    said = ast.get_docstring(ast.parse(SOURCES[example])) or ""
    lines = re.findall(r"curl .*$", said.replace("\\\n", " "), re.MULTILINE)
    assert lines
    async with processes.uvicorn(example.stem, tmp_path) as server:
        out = ""
        for line in lines:
            line = line.replace(":8000", f":{server.port}").replace('"demo"', '"demo-fast"')
            line = line.replace("holdfast?", "holdfast?\n/demo rate=10000")
            found = re.search(r"/v1/streams/(\w+)/", out)
            words = shlex.split(line.replace("/ID/", f"/{found[1]}/") if found else line)
            done = await processes.run(*words[1:], "-sS", command=("curl",))
            assert (done.code, done.err) == (0, "")
            out = done.out
        assert asking.kinds(out.encode())[-1] == "complete"


PROGRAMS = [block for block in blocks("python") if "from holdfast" in block]


@pytest.mark.parametrize("program", PROGRAMS, ids=["AsyncClient", "Client"])
async def test_readme_s_programs_print_the_answer_and_its_usage(
    program: str, server: harness.Running, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(put_in(program, server))
    done = await processes.run("program.py", command=(sys.executable,), folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("You asked: “What is a holdfast?”\n\n")
    assert "output_tokens=" in done.out.splitlines()[-1]


STOCK = [block for block in blocks("python") if "base_url" in block]


@pytest.mark.parametrize("program", STOCK, ids=["openai", "anthropic"])
async def test_readme_s_stock_clients_print_the_answer(
    program: str, server: harness.Running, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(put_in(program, server))
    direct = {"NO_PROXY": "127.0.0.1"}
    done = await processes.run("program.py", command=(sys.executable,), folder=tmp_path, env=direct)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("You asked: “What is a holdfast?”\n\n")


MOUNTING = (ROOT / "docs" / "mounting.md").read_text(encoding="utf-8")
APPLICATIONS = [*blocks("python"), *blocks("python", MOUNTING)]


@pytest.mark.parametrize("program", [block for block in APPLICATIONS if "\napp = " in block])
async def test_an_application_of_the_documents_answers(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(program, made)
    async with other_servers.serving(made["app"]) as port:
        assert (await harness.ask(port, "GET", "/llm/readyz")).status == 200


async def test_readme_s_ask_prints_the_answer(server: harness.Running) -> None:
    (program, *args), _ = commands(".venv/bin/holdfast ask")
    assert program.endswith("/holdfast")
    done = await processes.run(*args, "--model", "demo-fast", "--url", server.url)
    assert done.code == 0
    assert done.out.startswith("You asked: “What is a holdfast?”\n\n")


async def curl(line: list[str], server: harness.Running) -> bytes:
    """What this command prints."""
    args = [put_in(word, server) for word in line]
    done = await processes.run(*args[1:], "-sS", command=("curl",))
    assert (done.code, done.err) == (0, "")
    return done.out.encode()


async def test_readme_s_curl_lines_ask_and_take_the_rest(
    server: harness.Running, require: Callable[[str], Path]
) -> None:
    require("curl")
    first, second = commands("curl")
    whole = harness.blocks(await curl(first, server))
    assert b"event: complete" in whole[-1]
    id = harness.position(whole[3])
    assert id is not None
    stands_for = {"STREAM_ID": id.partition(":")[0], "THE_WHOLE_ID": id}
    second = [re.sub("|".join(stands_for), lambda m: stands_for[m[0]], word) for word in second]
    assert harness.blocks(await curl(second, server)) == whole[4:]


async def test_the_line_that_the_demo_prints_can_be_typed(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    require("curl")
    async with processes.serving(command="demo", folder=tmp_path) as server:
        printed = await server.more(3)
        (line,) = re.findall(r"^  (curl .*?)$", printed.replace("\\\n", " "), re.MULTILINE)
        shell = ("sh", "-c", line.replace('"demo"', '"demo-fast"'))
        done = await processes.run(command=shell)
        assert asking.kinds(done.out.encode())[-1] == "complete"


async def test_readme_s_settings_can_be_loaded(tmp_path: Path) -> None:
    text, many = blocks("toml")
    file = tmp_path / "holdfast.toml"
    await asyncio.to_thread(file.write_text, many)
    shared = settings.load(file, {}, {}, environment.USUAL)
    assert isinstance(url.open_log(shared.log.url), redis_engine.RedisLog)
    assert isinstance(archive_url.open_archive(shared.archive.url, ""), postgres.PostgresArchive)
    await asyncio.to_thread(file.write_text, text)
    environ = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "y", "WORK_API_KEY": "z"}
    loaded = settings.load(file, {}, environ, environment.USUAL)
    keys = {name: row.api_key for name, row in loaded.providers.items() if row.api_key}
    assert {name: key.get_secret_value() for name, key in keys.items()} == {
        "anthropic": "y",
        "work": "z",
        "openai": "x",
        "openai_responses": "x",
    }
    assert set(app.providers(loaded).names) == set(loaded.providers)


async def test_the_sample_of_the_settings_says_the_defaults(tmp_path: Path) -> None:
    """With every comment taken away that a setting follows."""
    sample = (ROOT / "examples" / "holdfast.toml").read_text(encoding="utf-8")
    text = re.sub(r"^# (\w+ = )", r"\1", sample, flags=re.MULTILINE)
    text = re.sub(r"\n# \[.*?(?=\n\n)", "", text, flags=re.DOTALL)
    file = tmp_path / "holdfast.toml"
    await asyncio.to_thread(file.write_text, text)
    loaded, plain = settings.load(file, {}, {}), settings.Settings()
    for table in ("server", "log", "streaming", "deadlines", "monitoring", "fallback"):
        assert getattr(loaded, table) == getattr(plain, table)
