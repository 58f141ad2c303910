"""What a limit of the caller's own is to the policy: a verdict, and when to ask again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast import errors
from holdfast.client import reconnect

LIMITS = reconnect.Limits()


def below(kind: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


CODES = [kind.code for kind in below(errors.QuotaError)]


def decide(status: int, code: str) -> object:
    happened = reconnect.Happened("No more.", status, code, 2.0)
    return reconnect.decide(1, happened, 0.0, 0.5, LIMITS)


def refusal(status: int, code: str, hint: float) -> errors.RequestRefused:
    with pytest.raises(errors.RequestRefused, match=r"^No more\.$") as refused:
        reconnect.Tries(0.0, LIMITS).after(
            reconnect.Happened("No more.", status, code, hint), 0.0, 0.5
        )
    return refused.value


@pytest.mark.parametrize("code", CODES)
def test_a_limit_of_the_caller_s_is_a_verdict(code: str) -> None:
    assert decide(429, code) == "refused"
    # Who reads is asked to come back, with the same words.
    assert decide(0, code) == decide(503, code) == 2.125


@pytest.mark.parametrize("code", ["", "overloaded", "rate_limited", "provider_rate_limited"])
def test_a_429_of_anybody_else_s_passes(code: str) -> None:
    assert decide(429, code) == 2.125


@pytest.mark.parametrize(("hint", "known"), [(0.0, None), (58.0, 58.0), (90_000.0, 90_000.0)])
def test_it_says_when_to_ask_again(hint: float, known: float | None) -> None:
    refused = refusal(429, "token_limit", hint)
    assert (refused.status, refused.code) == (429, "token_limit")
    assert (refused.retryable, refused.retry_after) == (True, known)


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_no_other_verdict_does(status: int) -> None:
    refused = refusal(status, "token_limit", 3.0)
    assert (refused.retryable, refused.retry_after) == (False, None)
    # What one refusal says is not said by the next.
    assert not errors.RequestRefused.retryable
