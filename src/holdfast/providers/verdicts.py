"""What a provider's refusal means: one table, for HTTP answers and for errors in a stream.

Strategy: the tables are plain data, asked in the order of how exact they are: the
provider's own code words, then phrases of its message, then the HTTP status. An error inside
a stream passes through the same tables, with the status that it names, if it names one.
"""

from __future__ import annotations

import re

import msgspec

from holdfast import errors

Verdict = type[errors.ProviderError]

# By code, type or status word, in lower case with "_" for "-" and spaces.
WORDS: dict[str, Verdict] = {
    "invalid_api_key": errors.ProviderAuth,
    "incorrect_api_key": errors.ProviderAuth,
    "invalid_authentication": errors.ProviderAuth,
    "invalid_authentication_error": errors.ProviderAuth,
    "authentication_error": errors.ProviderAuth,
    "unauthenticated": errors.ProviderAuth,
    "unauthorized": errors.ProviderAuth,
    "permission_error": errors.ProviderAuth,
    "permission_denied": errors.ProviderAuth,
    "permission_denied_error": errors.ProviderAuth,
    "insufficient_quota": errors.ProviderQuota,
    "insufficient_balance": errors.ProviderQuota,
    "insufficient_credits": errors.ProviderQuota,
    "billing_error": errors.ProviderQuota,
    "billing_hard_limit_reached": errors.ProviderQuota,
    "billing_not_active": errors.ProviderQuota,
    "payment_required": errors.ProviderQuota,
    "exceeded_current_quota_error": errors.ProviderQuota,
    "context_length_exceeded": errors.ProviderContextLength,
    "context_window_exceeded": errors.ProviderContextLength,
    "model_not_found": errors.ProviderModelNotFound,
    "model_not_found_error": errors.ProviderModelNotFound,
    "not_found_error": errors.ProviderModelNotFound,
    "resource_not_found_error": errors.ProviderModelNotFound,
    "invalid_model": errors.ProviderModelNotFound,
    "rate_limit_exceeded": errors.ProviderRateLimited,
    "rate_limit_error": errors.ProviderRateLimited,
    "rate_limit_reached_error": errors.ProviderRateLimited,
    "rate_limited": errors.ProviderRateLimited,
    "resource_exhausted": errors.ProviderRateLimited,
    "too_many_requests": errors.ProviderRateLimited,
    "throttlingexception": errors.ProviderRateLimited,
    "overloaded": errors.ProviderOverloaded,
    "overloaded_error": errors.ProviderOverloaded,
    "engine_overloaded": errors.ProviderOverloaded,
    "engine_overloaded_error": errors.ProviderOverloaded,
    "over_capacity": errors.ProviderOverloaded,
    "capacity_exceeded": errors.ProviderOverloaded,
    "insufficient_system_resource": errors.ProviderOverloaded,
    "service_unavailable": errors.ProviderOverloaded,
    "unavailable": errors.ProviderOverloaded,
    "timeout": errors.ProviderTimeout,
    "timeout_error": errors.ProviderTimeout,
    "request_timeout": errors.ProviderTimeout,
    "deadline_exceeded": errors.ProviderTimeout,
    "cancelled": errors.ProviderFailed,  # Google's 499: its server gave up, not the client
    "aborted": errors.ProviderFailed,  # Google's 409
}

# By message, the first that is found; not asked where the status is 5xx.
PHRASES: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), verdict)
    for pattern, verdict in (
        (
            r"api[ _-]?key (?:is )?(?:not valid|invalid|missing|provided|expired)"
            r"|(?:incorrect|invalid|wrong|missing|no) (?:x-)?api[ _-]?key|no auth credentials",
            errors.ProviderAuth,
        ),
        (
            r"insufficient (?:account )?(?:balance|credit|quota|funds)|credit balance is too low"
            r"|used all available credits|out of credits|monthly spending limit"
            r"|reached your specified (?:workspace )?api usage limits",
            errors.ProviderQuota,
        ),
        (
            r"context (?:length|window|size)|maximum prompt length|(?:prompt|input) is too long"
            r"|input token count .{0,40}exceeds|exceed context limit",
            errors.ProviderContextLength,
        ),
        (
            r"\bmodel\b.{0,200}(?:does not exist|doesn't exist|not found|not supported)"
            r"|model identifier is invalid|(?:unknown|invalid|no such) model"
            r"|not a valid model",
            errors.ProviderModelNotFound,
        ),
    )
)

STATUSES: dict[int, Verdict] = {
    401: errors.ProviderAuth,
    402: errors.ProviderQuota,
    403: errors.ProviderAuth,
    404: errors.ProviderModelNotFound,
    408: errors.ProviderTimeout,
    429: errors.ProviderRateLimited,
    498: errors.ProviderOverloaded,  # Groq: flex tier capacity exceeded
    503: errors.ProviderOverloaded,
    504: errors.ProviderTimeout,
    524: errors.ProviderTimeout,  # Cloudflare: the origin did not answer in time
    529: errors.ProviderOverloaded,  # Anthropic
}

# What a word says where there is no status: weaker than any phrase.
WEAK_WORDS: dict[str, Verdict] = {
    "invalid_request_error": errors.ProviderRejected,
    "invalid_argument": errors.ProviderRejected,
    "bad_request": errors.ProviderRejected,
    "request_too_large": errors.ProviderRejected,
    "content_filter": errors.ProviderRejected,
    "invalid_prompt": errors.ProviderRejected,  # from here on: `error.code` of OpenAI Responses
    "bio_policy": errors.ProviderRejected,
    "misalignment_policy_violation": errors.ProviderRejected,
    "data_residency_mismatch": errors.ProviderRejected,
    "invalid_image": errors.ProviderRejected,
    "invalid_image_format": errors.ProviderRejected,
    "invalid_base64_image": errors.ProviderRejected,
    "invalid_image_url": errors.ProviderRejected,
    "invalid_image_mode": errors.ProviderRejected,
    "image_too_large": errors.ProviderRejected,
    "image_too_small": errors.ProviderRejected,
    "image_parse_error": errors.ProviderRejected,
    "image_content_policy_violation": errors.ProviderRejected,
    "image_file_too_large": errors.ProviderRejected,
    "unsupported_image_media_type": errors.ProviderRejected,
    "empty_image_file": errors.ProviderRejected,
    "failed_to_download_image": errors.ProviderRejected,
    "image_file_not_found": errors.ProviderRejected,
    "vector_store_timeout": errors.ProviderTimeout,
}


class Refusal(msgspec.Struct, frozen=True):
    """What a provider said when it refused; `text` is as it came."""

    text: str = ""
    words: tuple[str, ...] = ()
    status: int | None = None
    retry_after: float | None = None


def classify(refusal: Refusal, status: int | None = None) -> Verdict:
    """The class of a refusal, by `status` where HTTP gave one, else by the one in the body."""
    status = status or refusal.status
    for word in refusal.words:
        if word in WORDS:
            return WORDS[word]
    if status is None or status < 500:
        for pattern, verdict in PHRASES:
            if pattern.search(refusal.text):
                return verdict
    if status is None:
        weak = (WEAK_WORDS[word] for word in refusal.words if word in WEAK_WORDS)
        return next(weak, errors.ProviderFailed)
    return STATUSES.get(status, errors.ProviderFailed if status >= 500 else errors.ProviderRejected)
