"""`holdfast` whose nodes are given up sooner than others: for tests that wait until they are.

    python -m tests.faults.leased 3 serve --port 0

Strategy: the process is the command line's; only how long a lease lasts is another number.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from holdfast import cli
from holdfast.eventlog.redis import lease

ROOT = Path(__file__).resolve().parents[2]


def command(seconds: float) -> tuple[str, ...]:
    """What to start in the place of `holdfast`, with `PATH` as PYTHONPATH."""
    return (sys.executable, "-m", "tests.faults.leased", f"{seconds:g}")


PATH = os.pathsep.join([str(ROOT / "src"), str(ROOT)])

if __name__ == "__main__":
    # The engine takes it as a default, and is imported once a log is opened.
    lease.SECONDS = float(sys.argv.pop(1))
    cli.main()
