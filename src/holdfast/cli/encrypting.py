"""`serve --encrypt`: sealing turned on, with a key ring that is made where there is none.

Strategy: the ring is made before anything is opened or forked, so that one process makes it; where
it is is said once, as nobody looks for what must not be lost.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast import events, settings
from holdfast.cli import output
from holdfast.sealing import sources

RING = "holdfast.keys"
"""The key ring's file where the settings name none, in the folder where the server starts."""

OPTION = click.option(
    "--encrypt",
    is_flag=True,
    help="Seal all that is written, by a key ring that is made where there is none.",
)


def turned_on(config: settings.Settings) -> settings.Settings:
    """The same with sealing on; its key ring is made where there is none, by the one process that
    starts all others. Raises `errors.SettingsError`."""
    said = config.sealing
    if said.ring is None:
        path = said.keys or RING
        if sources.File(Path(path)).make(events.now_ms()):
            where = output.one_line(str(Path(path).absolute()))
            hint = ""
            if said.keys is None:
                hint = (
                    " Commands, and starts without --encrypt, find it by "
                    f"HOLDFAST_SEALING__KEYS={path}, or by keys under [sealing]."
                )
            click.echo(
                f"A key ring was made in {where}. Keep it apart from the data, with a copy: who "
                f"has both reads everything, and who loses it loses every answer.{hint}",
                err=True,
            )
        said = said.model_copy(update={"keys": path})
    return config.model_copy(update={"sealing": said.model_copy(update={"on": True})})
