"""The command line: `holdfast serve | demo | ask | tail | streams | config | completion`.

Strategy: commands read options, call what the library offers, and print. Answers go to
stdout, everything else to stderr. An error of our tree becomes one readable line and exit
code 1; anything else is a bug and keeps its traceback. `group` puts the commands together;
each of its modules holds one or two of them, `output` what they share.
"""

from __future__ import annotations

from holdfast.cli.group import main

__all__ = ["main"]
