"""An answer that the provider keeps: its id, and where it is reached again.

Strategy: with `background` the provider generates the answer whether or not somebody reads, and
tells all its events again, the same ones, to who asks with the id. The id comes from the
provider, is written to the log, and becomes a part of the path of a later call; so it has a shape
and a length, and where it has not, the answer is one that cannot be told again.

Format: https://platform.openai.com/docs/api-reference/responses/get
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from holdfast.providers.openai_responses import wire

MAX_ID = 512
"""Characters of an id; OpenAI's have about 60, gateways put more into theirs."""

# No slash, and no dot at the beginning: an id stays one segment of the path.
_ID = re.compile(rf"[\w~=+:-][\w.~=+:-]{{0,{MAX_ID - 1}}}", re.ASCII)


def kept_id(response: Any) -> str | None:
    """The id under which this response is kept; None where it has none that can be used, or says
    itself that it is not in the background, as some servers leave out what they do not know."""
    id = wire.text(response, "id")
    if _ID.fullmatch(id) is None or response.get("background") is False:
        return None
    return id


def path(id: str) -> str | None:
    """Where the response of this id is, percent-encoded, after the base URL; None for a text that
    is no id."""
    if _ID.fullmatch(id) is None:
        return None
    return f"/responses/{urllib.parse.quote(id, safe='')}"
