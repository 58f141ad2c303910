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
