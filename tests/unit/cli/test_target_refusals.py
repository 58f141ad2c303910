"""What a command says beside the server's words where who asks, or how much, is refused."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast.cli import target

HOME, ID = "http://home:8080", "0123456789abcdefghijklmnOP"
ELSEWHERE = f"http://elsewhere/v1/streams/{ID}"


def refused(status: int, code: str, message: str = "No.") -> errors.RequestRefused:
    return errors.RequestRefused(message, status=status, code=code)


def asked(key: str | None = "secret", *, typed: bool = False) -> target.Target:
    return target.Target(HOME, key, None, typed)


@pytest.mark.parametrize("code", ["unauthorized", "request_refused"])  # ours, or a proxy's
@pytest.mark.parametrize(
    ("where", "said"),
    [
        (asked(None), "Set HOLDFAST_API_KEY, or give --api-key."),
        (
            asked(),
            "HOLDFAST_API_KEY was sent; `holdfast keys list`, where the server runs, tells all.",
        ),
        (
            asked(typed=True),
            "--api-key was sent; `holdfast keys list`, where the server runs, tells all.",
        ),
        (
            asked().of(ELSEWHERE),
            "HOLDFAST_API_KEY is for the server of --url alone; give --api-key for this one.",
        ),
        (asked(None).of(ELSEWHERE), "Set HOLDFAST_API_KEY, or give --api-key."),
        (
            asked(typed=True).of(ELSEWHERE),
            "--api-key was sent; `holdfast keys list`, where the server runs, tells all.",
        ),
        (
            asked().of(f"{HOME}/v1/streams/{ID}"),
            "HOLDFAST_API_KEY was sent; `holdfast keys list`, where the server runs, tells all.",
        ),
    ],
)
def test_a_401_says_where_a_key_is_to_be(where: target.Target, said: str, code: str) -> None:
    assert where.advice(refused(401, code)) == said
    assert "secret" not in said


def test_to_a_403_there_is_nothing_to_add() -> None:
    """The server's words say what to do."""
    assert asked().advice(refused(403, "forbidden", "This call needs the scope ...")) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (1.0, "1 s"),
        (58.5, "59 s"),
        (120.0, "120 s"),
        (120.5, "3 min"),
        (7200.0, "120 min"),
        (7201.0, "3 h"),
        (86_400.0, "24 h"),
    ],
)
def test_a_429_says_when_to_ask_again(seconds: float, said: str) -> None:
    full = refused(429, "token_limit")
    assert asked().advice(full) == ""
    full.retry_after = seconds
    assert asked().advice(full) == f"Ask again in {said}."


@pytest.mark.parametrize(
    "error",
    [
        refused(404, "stream_not_found"),
        errors.GaveUp("No.", retry_after=5.0),
        errors.AnswerFailed("No.", code="unauthorized", retryable=False),
        errors.Unauthorized(),
    ],
)
def test_nothing_else_gets_advice(error: errors.HoldfastError) -> None:
    assert asked().advice(error) == ""


async def test_the_advice_follows_the_server_s_words() -> None:
    with pytest.raises(errors.RequestRefused) as caught:
        async with asked(None).client():
            raise refused(401, "unauthorized")
    assert caught.value.__notes__ == ["Set HOLDFAST_API_KEY, or give --api-key."]
    with pytest.raises(errors.RequestRefused) as caught:
        async with asked(None).client():
            raise refused(404, "stream_not_found")
    assert not hasattr(caught.value, "__notes__")
