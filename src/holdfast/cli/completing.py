"""`completion`: the script that lets a shell complete our commands; click makes it."""

from __future__ import annotations

import click
from click import shell_completion

from holdfast.cli import output

_MAKERS: dict[str, type[shell_completion.ShellComplete]] = {
    "bash": shell_completion.BashComplete,
    "zsh": shell_completion.ZshComplete,
    "fish": shell_completion.FishComplete,
}
SHELLS = tuple(_MAKERS)


@click.command(
    cls=output.Command,
    epilog='  bash: put into ~/.bashrc    eval "$(holdfast completion bash)"\n'
    '  zsh:  put into ~/.zshrc     eval "$(holdfast completion zsh)"\n'
    "  fish: run once              holdfast completion fish "
    "> ~/.config/fish/completions/holdfast.fish\n",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes `holdfast` in a shell."""
    root = context.find_root().command
    made = _MAKERS[shell](root, {}, "holdfast", "_HOLDFAST_COMPLETE")
    output.write(made.source().rstrip() + "\n")
