"""The environment, read here and nowhere else in the package.

Strategy: who needs a variable is given the mapping; options name theirs (`envvar=`), and click
reads them. So a test of anything below the command line sets no variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def variables() -> Mapping[str, str]:
    """The variables of this process, by name."""
    return os.environ
