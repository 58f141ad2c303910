"""What a peer is, and where it runs.

Strategy: a `Peer` is a value that says how to start what `install` has put there; `files` beside
this module has a folder of each one's lock and configuration.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import servers

FILES = Path(__file__).parent / "files"
HOMES = Path(__file__).resolve().parents[2] / "build" / "peers"
"""Outside of `bench`: whoever walks through our sources must not meet theirs."""

BODY = b'{"model":"sim","stream":true,"messages":[{"role":"user","content":"go"}]}'


class Place(NamedTuple):
    """Where one peer is started: `home` has its packages, `folder` takes its files. `provider` is
    the port of the simulated one, `redis` the URL of a Valkey where the peer needs one."""

    home: Path
    folder: Path
    provider: int
    redis: str = ""

    def configured(self, name: str) -> Path:
        """The configuration file of that name, with the provider's port in it."""
        text = (FILES / self.home.name / name).read_text()
        made = self.folder / name
        made.write_text(text.replace("@PROVIDER@", str(self.provider)))
        return made

    def command(self, *words: str, **environment: str) -> Sequence[str]:
        """The command in an environment that has nothing else: what is set on this machine must
        not reach a peer, nor a peer whatever is in the user's home."""
        path = f"{self.home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        kept = {"PATH": path, "HOME": str(self.folder), **environment}
        return ("env", "-i", *(f"{name}={value}" for name, value in kept.items()), *words)


class Peer(NamedTuple):
    """`name` is that of its folders; `shows` are the packages whose versions are told with its
    figures, the peer's own first; `most` the most tokens a second that it is asked to carry on its
    core."""

    name: str
    shows: Sequence[str]
    most: int
    start: Callable[[Place], servers.Server]
    valkey: bool = False
