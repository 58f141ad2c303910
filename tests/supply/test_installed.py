"""Nothing that is installed runs by itself: not as Python starts, and not as we are installed.

Strategy: a `.pth` file beside the packages runs each of its lines that begins with `import`, in
every Python that starts (so came the thief of litellm 1.82.8 in March 2026). Those that do so here
are a list, each with its very text and why, so that a new one and a changed one both fail. Our own
wheel is built, and looked through.
"""

from __future__ import annotations

import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hatchling.builders import wheel
from tests.supply import lock

SITE = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}

EXPLAINED: Mapping[str, str] = {
    # coverage: measures child processes, where a variable asks for it.
    "a1_coverage.pth": (
        'import sys; exec(\'import os\\n\\nif os.getenv("COVERAGE_PROCESS_START") or '
        'os.getenv("COVERAGE_PROCESS_CONFIG"):\\n try:\\n  import coverage\\n except:\\n  pass\\n '
        'else:\\n  coverage.process_startup(slug="pth")\')'
    ),
    # setuptools, which Python 3.11 puts into each virtual environment: stands in for distutils.
    "distutils-precedence.pth": (
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == "
        "'local'; enabled and __import__('_distutils_hack').add_shim();"
    ),
}
"""What runs as Python starts, by file. A text that differs is to be read before it stands here."""


def running(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, its text that runs) of what runs by itself in each Python that has this folder."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".pth":
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            code = [line.strip() for line in lines if line.startswith(("import ", "import\t"))]
            if code:
                yield path.name, "\n".join(code)
        elif path.stem in ("sitecustomize", "usercustomize"):
            yield path.name, "all of it"


@pytest.mark.case("4.22")
def test_nothing_unknown_runs_as_python_starts() -> None:
    found = {name: text for folder in SITE for name, text in running(folder)}
    assert found.items() <= EXPLAINED.items()


@pytest.mark.case("4.22")
def test_what_runs_as_python_starts_is_found(tmp_path: Path) -> None:
    (tmp_path / "litellm_init.pth").write_text("import os; os.system('x')\n")
    (tmp_path / "marked.pth").write_bytes(b"\xef\xbb\xbfimport\tos\n")
    (tmp_path / "late.pth").write_text(f"# a comment\n/a/folder\n{'#' * 9000}\nimport os\n")
    (tmp_path / "folders.pth").write_text("/a/folder\nimportant\n# import os\n")
    (tmp_path / "sitecustomize.py").write_text("")
    (tmp_path / "usercustomize").mkdir()
    (tmp_path / "import.py").write_text("import os\n")
    found = dict(running(tmp_path))
    assert found.keys() == {
        *("litellm_init.pth", "marked.pth", "late.pth"),
        *("sitecustomize.py", "usercustomize"),
    }
    assert found["litellm_init.pth"] == "import os; os.system('x')"


def odd(names: list[str]) -> list[str]:
    """Files of a wheel that are neither the package nor what is told about it."""
    return [
        name
        for name in names
        if not name.startswith(("holdfast/", "holdfast-"))
        or ".data/" in name
        or name.endswith((".pth", ".so", ".exe"))
    ]


@pytest.mark.case("4.22")
def test_our_own_wheel_runs_nothing_as_it_is_installed(tmp_path: Path) -> None:
    """A wheel runs nothing by itself; what is built from source runs what its hooks say."""
    builder = wheel.WheelBuilder(str(lock.ROOT))
    (built,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert archive.read(entry).decode().split("\n", 1) == [
            "[console_scripts]",
            "holdfast = holdfast.cli:main\n",
        ]
    assert "holdfast/__init__.py" in names
    assert odd(names) == []
    assert odd(["x.pth", "holdfast/x.pth", "holdfast-1.data/scripts/x", "other/x.py"]) != []
    project = tomllib.loads((lock.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert project["tool"]["hatch"]["build"].keys() == {"targets"}  # no `hooks`
    assert all(
        "hooks" not in kind for kind in project["tool"]["hatch"]["build"]["targets"].values()
    )
    assert not [name for name in ("setup.py", "hatch_build.py") if (lock.ROOT / name).exists()]
