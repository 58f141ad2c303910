"""The list of what a node is made of: whole, valid, and the same bytes each time.

Strategy: it is compared with the lock, and judged by CycloneDX's own schema.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cyclonedx.schema
import jsonschema_rs
import pytest
from tests.supply import lock, sbom

SCHEMAS = Path(cyclonedx.schema.__file__).parent / "_res"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.of_this_repository())
    return found


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.SNAPSHOT.schema.json").read_bytes())


@pytest.mark.case("4.22")
def test_it_has_all_that_a_node_runs(document: dict[str, Any]) -> None:
    pins = lock.read(lock.DEPLOYED.read_text(encoding="utf-8"))
    told = {one["name"]: one for one in document["components"]}
    assert told.keys() == {"uplot", *(pin.name for pin in pins)}
    for pin in pins:
        one = told[pin.name]
        assert (one["version"], one["purl"]) == (
            pin.version,
            f"pkg:pypi/{pin.name}@{pin.version}",
        )
        (files,) = one["externalReferences"]
        assert sorted(hashed["content"] for hashed in files["hashes"]) == sorted(pin.hashes)
    optional = {name for name, one in told.items() if one["scope"] == "optional"}
    assert {"redis", "hiredis", "asyncpg", "opentelemetry-api", "zstandard"} <= optional
    # Some are wanted by what is wanted, and `pycparser` by what that wants.
    assert optional.isdisjoint({"click", "uvicorn", "h11", "cffi", "pycparser"})


def test_it_has_the_library_of_the_dashboard(document: dict[str, Any]) -> None:
    (uplot,) = (one for one in document["components"] if one["name"] == "uplot")
    assert uplot["purl"] == f"pkg:npm/uplot@{uplot['version']}"
    for file in uplot["components"]:
        digest = hashlib.sha256((lock.ROOT / file["name"]).read_bytes()).hexdigest()
        assert file["hashes"] == [{"alg": "SHA-256", "content": digest}]
    folder = lock.ROOT / "src"
    known = {folder / "holdfast" / "dashboard" / "static" / "uplot.js"}
    others = {path for path in folder.rglob("*.js") if path.read_bytes().startswith(b"/*!")}
    assert others == known


def test_it_tells_who_wants_what(document: dict[str, Any]) -> None:
    wanted = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    root = document["metadata"]["component"]["bom-ref"]
    names = {ref.partition("@")[0] for ref in wanted[root]}
    assert {"pkg:npm/uplot", "pkg:pypi/starlette", "pkg:pypi/redis"} <= names
    assert "pkg:pypi/cffi" not in names
    assert wanted.keys() >= {one["bom-ref"] for one in document["components"]}


def test_it_is_valid(document: dict[str, Any]) -> None:
    others = ["spdx", "jsf-0.82"]
    resources = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name))
        for name in others
    ]
    registry = jsonschema_rs.Registry(resources=resources)
    validator = jsonschema_rs.validator_for(schema("bom-1.6"), registry=registry)
    validator.validate(document)
    document = {**document, "components": [{"name": "no type"}]}
    assert not validator.is_valid(document)


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    """In another process, where sets have another order."""
    path = tmp_path / "new" / "sbom.json"
    subprocess.run(
        [sys.executable, "-m", "tests.supply.sbom", "--output", str(path)],
        cwd=lock.ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    assert path.read_bytes() == sbom.of_this_repository()
