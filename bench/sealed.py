"""What it costs that nothing is readable on disk: a log with sealing on, beside the same without.

Strategy: the same node and the same load, on SQLite and on Redis; a ring of one key is made before.
"""

from __future__ import annotations

from pathlib import Path

from bench import servers
from holdfast.sealing import ring

LOGS = ("sqlite", "redis")
NAMES = tuple(f"{log}, {how}" for log in LOGS for how in ("plain", "sealed"))


def node(name: str, folder: Path, redis: str) -> servers.Server:
    """The node of this name; `redis` is the URL of the log that is no file."""
    log, _, how = name.partition(", ")
    more = ""
    if how == "sealed":
        keys = folder / "holdfast.keys"
        keys.touch(0o600)
        keys.write_bytes(ring.dump(ring.Ring((ring.new_key(0),))))
        more = f'[sealing]\nkeys = "{keys}"\n'
    return servers.holdfast(folder, log if log == "sqlite" else redis, more=more)._replace(
        name=name
    )
