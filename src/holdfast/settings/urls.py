"""URLs of stores, as they may be shown: with everything but what opens them.

Strategy: a URL of a database holds its user's password, and every place that shows a setting would
have to know. What is hidden is more than what a parser finds: whoever wrote a password with a `/`
or an `@` in it has a URL that does not work, and is told of it in a message.
"""

from __future__ import annotations

import re

HIDDEN = "***"
"""What stands in the place of a password."""

_SECRETS = re.compile(r"(?i)(?<=[?&])([^=&]*(?:pass|secret|token|key)[^=&]*=)[^&#]*")
_FILES = frozenset({"sqlite", "memory"})


def masked(url: str) -> str:
    """A URL whose password is hidden, also one in its query; one of a file is told whole."""
    scheme, marks, rest = url.partition("://")
    if not marks or scheme.lower() in _FILES:
        return url
    before, at, host = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    shown = f"{user}:{HIDDEN}" if colon else before
    host = _SECRETS.sub(lambda found: found[1] + HIDDEN, host)
    return f"{scheme}://{shown}{at}{host}"
