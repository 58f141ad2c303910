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
    left = [told for one in accounts if one.limits for told in one.left()]
    return {"RateLimit": ", ".join(left)} if left else {}


def refusal(accounts: Sequence[account.Account]) -> dict[str, str]:
    """The same, and what the limits are."""
    policies = [one.policy for one in accounts if one.limits]
    return {"RateLimit-Policy": ", ".join(policies), **headers(accounts)} if policies else {}
