"""The group of all commands, and what its help says of them together."""

from __future__ import annotations

import click

import holdfast
from holdfast import environment
from holdfast.cli import (
    alerts,
    asking,
    completing,
    config,
    db,
    keys,
    listing,
    output,
    seal,
    serving,
)


@click.group(
    cls=output.Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="  holdfast demo\n"
    "  OPENAI_API_KEY=sk-... holdfast serve\n"
    '  holdfast ask "What is a holdfast?"\n'
    "  holdfast streams list\n"
    "\nExit codes:\n"
    "  0    done; of an answer: it is complete\n"
    "  1    failed; the last line on stderr says why, with the error's code\n"
    "  2    wrong use\n"
    "  130  ended by Ctrl-C; the answer goes on without its reader\n",
)
@click.version_option(holdfast.__version__, prog_name="holdfast")
def main() -> None:
    """Streams LLM answers that do not break."""


for command in (
    serving.serve,
    serving.demo,
    asking.ask,
    asking.tail,
    listing.streams,
    keys.commands(environment.USUAL),
    alerts.commands(environment.USUAL),
    db.commands(environment.USUAL),
    seal.commands(environment.USUAL),
    config.commands(environment.USUAL),
    completing.completion,
):
    main.add_command(command)
