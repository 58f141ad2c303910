"""The environment, read here and nowhere else in the package.

Strategy: who needs a variable is given the mapping; options of commands name theirs (`envvar=`),
and click reads them. So a test of anything below sets no variable. The providers know in which
variables vendors' own clients look for a key or a base URL, the settings what to do with them, and
neither knows the other; here the one is given to the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from holdfast import settings
from holdfast.providers import vendors

USUAL: Mapping[str, settings.Usual] = MappingProxyType(
    {
        kind: settings.Usual(vendor.api_key_env, vendor.base_url_env)
        for kind, vendor in vendors.VENDORS.items()
    }
)
"""The variables of vendors' own clients, by provider kind."""


def variables() -> Mapping[str, str]:
    """The variables of this process, by name."""
    return os.environ
