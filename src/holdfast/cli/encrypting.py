"""`serve --encrypt`: sealing turned on, with a key ring that is made where there is none.

Strategy: the ring is made before anything is opened for good or forked, so that one process makes
it; but not where a store is sealed already, as a new ring would stand in for the one that opens it.
Where it is is said once, as nobody looks for what must not be lost.
"""

from __future__ import annotations

from pathlib import Path

import click

from holdfast import errors, events, settings
from holdfast.cli import output, running, sealed, stored
from holdfast.sealing import sealer, sources

RING = stored.RING

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
        if not Path(path).exists():
            _check_not_sealed(config, path)
        if sources.File(Path(path)).make(events.now_ms()):
            whole = Path(path).absolute()
            where, hint = output.one_line(str(whole)), ""
            if said.keys is None:
                hint = (
                    " Commands, and starts without --encrypt, find it by "
                    f"HOLDFAST_SEALING__KEYS={where}, or by keys under [sealing]."
                )
            click.echo(
                f"A key ring was made in {where}. Keep it apart from the data, with a copy: who "
                f"has both reads everything, and who loses it loses every answer.{hint}",
                err=True,
            )
        said = said.model_copy(update={"keys": path})
    return config.model_copy(update={"sealing": said.model_copy(update={"on": True})})


def _check_not_sealed(config: settings.Settings, path: str) -> None:
    """Raises `errors.SettingsError` where a store needs keys, which a new ring would not have."""
    needed = running.run(sealed.needed(config))
    if needed:
        raise errors.SettingsError(
            f"There is no key ring at {output.one_line(str(Path(path).absolute()))}, and none was "
            f"made: what is kept here is sealed already, by the {sealer.named(needed)}. Put back "
            "the ring that has what it needs (sealing.keys, or HOLDFAST_SEALING__KEYS)."
        )
