"""Options that commands share which read a node's settings.

Strategy: an option is written once, so that it is called and explained alike everywhere.
"""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The node's configuration file; without it ./holdfast.toml where there is one.",
)
LOG_URL = click.option(
    "--log-url", help="The node's event log: sqlite:///FILE, redis://HOST or memory://"
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, on one line.")
