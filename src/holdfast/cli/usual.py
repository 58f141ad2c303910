"""The variables in which vendors' own clients look for a key or a base URL, by provider kind.

Strategy: the providers know the names, the settings what to do with them, and neither knows the
other; here the one is given to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast import settings
from holdfast.providers import vendors

NAMES: Mapping[str, settings.Usual] = MappingProxyType(
    {
        kind: settings.Usual(vendor.api_key_env, vendor.base_url_env)
        for kind, vendor in vendors.VENDORS.items()
    }
)
