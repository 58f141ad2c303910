"""`completion`: the script that lets a shell complete our commands; click makes it."""

from __future__ import annotations

import click
from click import shell_completion

from holdfast.cli import output

SHELLS = ("bash", "zsh", "fish")


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
    made = shell_completion.get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    root = context.find_root().command
    output.write(made(root, {}, "holdfast", "_HOLDFAST_COMPLETE").source().rstrip() + "\n")
