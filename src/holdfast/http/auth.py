"""Who may do what.

Strategy: every route names an action, and `may` is asked for it before the route's own code
runs; a route without an action cannot be written (see `routes`). For now everybody is the
same principal and may everything. A stream that the principal may not see is answered as
one that does not exist.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request

from holdfast.eventlog import base

Action = Literal["create", "read", "cancel", "list", "observe"]


class Principal(msgspec.Struct, frozen=True):
    """Who calls. `owner` is what their streams' headers carry."""

    owner: str


ANYBODY = Principal("")


def principal_of(request: Request) -> Principal:
    """Reads the caller's credentials; there are none yet."""
    return ANYBODY


def may(principal: Principal, action: Action, stream: base.Header | None) -> bool:
    """Whether this principal may do this; `stream` is None for actions on no one stream."""
    return True
