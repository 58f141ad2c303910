"""The table of verdicts: that its parts are asked in order. Bodies: test_failures.py."""

from __future__ import annotations

import re

import pytest

from holdfast import errors
from holdfast.providers import verdicts


def classify(status: int | None = None, text: str = "", *words: str) -> verdicts.Verdict:
    return verdicts.classify(verdicts.Refusal(text, words), status)


@pytest.mark.parametrize("word", [*verdicts.WORDS, *verdicts.WEAK_WORDS])
def test_words_are_spelled_as_they_are_looked_for(word: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", word)


@pytest.mark.parametrize("word", verdicts.WORDS)
def test_a_word_wins_over_phrase_and_status(word: str) -> None:
    assert classify(404, "Incorrect API key", "unknown", word) is verdicts.WORDS[word]


@pytest.mark.parametrize(
    "text",
    [
        "The model `x` does not exist or you do not have access to it.",
        "The requested model 'x y' does not exist.",
        'model "x:7b" not found, try pulling it first',
        "Model not found: x",
        "model: x/y-1.5 not found",
        "models/x is not found for API version v1beta",
        "The model could not be found",
        "Model Not Exist",
        "The requested model is not supported.",
        "unknown model x",
    ],
)
def test_a_model_that_is_not_there(text: str) -> None:
    assert classify(400, text) is errors.ProviderModelNotFound


@pytest.mark.parametrize(
    "text",
    [
        "The model `x` rejected: image_url: 'image/tiff' is not supported",
        "The model x takes no such thing: file a.pdf does not exist",
        "'temperature' is not supported with the model x",
        "'temperature' with the model x is not supported",
        "A list of tools with model 'x' is not supported",
        "Pictures by model x are not, and tools by the model x is not supported",
        "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
    ],
)
def test_a_model_is_there_whatever_else_is_not(text: str) -> None:
    assert classify(400, text) is errors.ProviderRejected


TOO_LARGE = "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000"


@pytest.mark.parametrize(
    ("status", "text", "word", "verdict"),
    [
        (413, TOO_LARGE, "rate_limit_exceeded", errors.ProviderRejected),
        (429, TOO_LARGE, "rate_limit_exceeded", errors.ProviderRejected),
        (429, TOO_LARGE, "odd", errors.ProviderRejected),
        (None, TOO_LARGE, "rate_limit_exceeded", errors.ProviderRejected),
        (413, "no", "rate_limit_exceeded", errors.ProviderRejected),
        (
            413,
            f"{TOO_LARGE}, over the context window",
            "rate_limit_exceeded",
            errors.ProviderContextLength,
        ),
        (413, TOO_LARGE, "insufficient_quota", errors.ProviderQuota),
        (
            429,
            "Rate limit reached for model `x`: Limit 6000, Used 5034, Requested 1443",
            "rate_limit_exceeded",
            errors.ProviderRateLimited,
        ),
    ],
)
def test_no_wait_is_of_use_where_the_request_alone_is_over_the_limit(
    status: int | None, text: str, word: str, verdict: verdicts.Verdict
) -> None:
    assert classify(status, text, word) is verdict


def test_a_phrase_wins_over_the_status_and_over_a_weak_word() -> None:
    assert classify(400, "maximum context length is 8") is errors.ProviderContextLength
    assert (
        classify(None, "unknown model x", "invalid_request_error") is errors.ProviderModelNotFound
    )


def test_no_phrase_is_asked_where_the_server_failed() -> None:
    assert classify(500, "maximum context length is 8") is errors.ProviderFailed


@pytest.mark.parametrize("status", verdicts.STATUSES)
def test_the_status_counts_where_nothing_else_says_more(status: int) -> None:
    assert classify(status, "so it is", "odd") is verdicts.STATUSES[status]


def test_a_status_in_the_body_counts_where_http_gave_none() -> None:
    refusal = verdicts.Refusal(status=429)
    assert verdicts.classify(refusal) is errors.ProviderRateLimited
    assert verdicts.classify(refusal, 503) is errors.ProviderOverloaded


def test_without_anything_known_the_provider_failed() -> None:
    assert classify() is errors.ProviderFailed
    assert classify(None, "", "bad_request") is errors.ProviderRejected
