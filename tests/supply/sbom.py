"""What a node is made of, as CycloneDX: `python -m tests.supply.sbom`.

Strategy: all of it is from files of the repository: the names, versions, hashes and reasons of
`deploy/requirements.lock`, what of it is for an extra from `pyproject.toml`, and the library in
the dashboard's folder from its own first line. So no network is needed, and the same commit gives
the same bytes: the serial number is made of the content, and a time is not told. The tools for
working on Holdfast are no part of it: `requirements.lock` has those.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclonedx import model
from cyclonedx.model import bom as boms
from cyclonedx.model import component as components
from cyclonedx.model import license as licences
from cyclonedx.output import json as output
from packageurl import PackageURL
from packaging import requirements, utils
from tests.supply import lock

OUTPUT = lock.ROOT / "dist" / "sbom.json"
UPLOT = lock.ROOT / "src" / "holdfast" / "dashboard" / "static"
ROOT_REASON = "holdfast (pyproject.toml)"

Component = components.Component


def needed(project: Mapping[str, Any], pins: Iterable[lock.Pin]) -> set[str]:
    """The names of what is always installed; the rest is for an extra."""
    names = [requirements.Requirement(text).name for text in project["dependencies"]]
    found: set[str] = {utils.canonicalize_name(name) for name in names}
    by_parent: dict[str, set[str]] = {}
    for pin in pins:
        for parent in pin.wanted_by:
            by_parent.setdefault(parent, set()).add(pin.name)
    waiting = list(found)
    while waiting:
        more = by_parent.get(waiting.pop(), set()) - found
        found |= more
        waiting += more
    return found


def _sha256(digest: str) -> model.HashType:
    return model.HashType(alg=model.HashAlgorithm.SHA_256, content=digest)


def _distribution(pin: lock.Pin, required: bool) -> Component:
    purl = PackageURL("pypi", None, pin.name, pin.version)
    # One of these files is installed, whichever fits the machine: no hash is the component's own.
    files = model.ExternalReference(
        type=model.ExternalReferenceType.DISTRIBUTION,
        url=model.XsUri(str(purl)),
        comment="each file that deploy/requirements.lock lets in",
        hashes=[_sha256(digest) for digest in pin.hashes],
    )
    scope = components.ComponentScope.REQUIRED if required else components.ComponentScope.OPTIONAL
    where = [model.Property(name="holdfast:marker", value=pin.marker)] if pin.marker else []
    return Component(
        name=pin.name,
        version=pin.version,
        type=components.ComponentType.LIBRARY,
        scope=scope,
        purl=purl,
        bom_ref=str(purl),
        external_references=[files],
        properties=where,
    )


def _uplot() -> Component:
    """The library in the dashboard's folder."""
    files = [UPLOT / "uplot.js", UPLOT / "uplot.css"]
    first = files[0].read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"/\*! https://\S+/uPlot \(v([0-9.]+)\) \*/", first)
    if found is None:
        raise ValueError(f"{files[0].name} begins with no version: {first[:100]!r}")
    purl = PackageURL("npm", None, "uplot", found[1])
    return Component(
        name="uplot",
        version=found[1],
        type=components.ComponentType.LIBRARY,
        scope=components.ComponentScope.REQUIRED,
        licenses=[licences.DisjunctiveLicense(id="MIT")],
        purl=purl,
        bom_ref=str(purl),
        components=[
            Component(
                name=path.relative_to(lock.ROOT).as_posix(),
                type=components.ComponentType.FILE,
                bom_ref=f"{purl}#{path.name}",
                hashes=[_sha256(hashlib.sha256(path.read_bytes()).hexdigest())],
            )
            for path in files
        ],
    )


def made(project: Mapping[str, Any], pins: Sequence[lock.Pin]) -> bytes:
    """The document. `project` is that table of pyproject.toml."""
    purl = PackageURL("pypi", None, project["name"], project["version"])
    root = Component(
        name=project["name"],
        version=project["version"],
        description=project["description"],
        type=components.ComponentType.APPLICATION,
        licenses=[licences.DisjunctiveLicense(id=project["license"])],
        purl=purl,
        bom_ref=str(purl),
    )
    always = needed(project, pins)
    by_name = {pin.name: _distribution(pin, pin.name in always) for pin in pins}
    uplot = _uplot()
    bom = boms.Bom(components=[*by_name.values(), uplot])
    bom.metadata.component = root
    bom.register_dependency(root, [uplot])
    for pin in pins:
        for parent in pin.wanted_by:
            whose = root if parent == ROOT_REASON else by_name[parent]
            bom.register_dependency(whose, [by_name[pin.name]])
    document = json.loads(output.JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"], document["serialNumber"]
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, content).urn
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def of_this_repository() -> bytes:
    project = tomllib.loads((lock.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return made(project, lock.read(lock.DEPLOYED.read_text(encoding="utf-8")))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make sbom ARGS=...", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the file to write")
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(of_this_repository())
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
