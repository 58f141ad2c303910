"""What callers are told of their limits.

Source: draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` names each limit (`q` of it in
`w` seconds), `RateLimit` what is left (`r`) and the seconds until it is whole again (`t`).
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.metering import account


def headers(accounts: Sequence[account.Account]) -> dict[str, str]:
    """What is left of the limits over a span that these accounts have; empty where they have
    none."""
    told = [
        f'"{limit.name}";r={left};t={seconds}'
        for one in accounts
        for limit, left, seconds in one.left()
    ]
    return {"RateLimit": ", ".join(told)} if told else {}


def refusal(accounts: Sequence[account.Account]) -> dict[str, str]:
    """The same, and what the limits are."""
    told = [
        f'"{limit.name}";q={limit.most};w={limit.window.span.seconds}'
        for one in accounts
        for limit in one.limits
    ]
    return {"RateLimit-Policy": ", ".join(told), **headers(accounts)} if told else {}
