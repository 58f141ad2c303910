"""What a provider's refusal means: one table, for HTTP answers and for errors in a stream.

Strategy: the tables are plain data, asked in the order of how exact they are: the
provider's own code words, then phrases of its message, then the HTTP status. An error inside
a stream passes through the same tables, with the status that it names, if it names one.

Sources beside the providers' references of errors: ai.google.dev/gemini-api/docs/api-errors
for the words of Google's Interactions API, whose `error.code` is a word and no number.
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
    "authentication": errors.ProviderAuth,
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
    "quota_exceeded": errors.ProviderQuota,  # Google: of a day
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
    "gateway_timeout": errors.ProviderTimeout,
    "content_policy_violation": errors.ProviderRejected,  # OpenRouter's, with 403
    "unimplemented": errors.ProviderRejected,  # Google's 501
    "cancelled": errors.ProviderFailed,  # Google's 499: its server gave up, not the client
    "aborted": errors.ProviderFailed,  # Google's 409
}

# The model and what is said of it stand together: a long sentence that names a model may say
# of something else that it is not supported ("... with the model x is not supported" does).
_NO_MODEL = (
    r"(?<!\bwith )(?<!\bwith the )(?<!\bby )(?<!\bby the )"
    r"\bmodels?\b[ :=/]{0,3}(?:(?:name|id) )?"
    r"(?:(?:[`'\"][^`'\"]{1,200}[`'\"]|[\w.:/@+-]{1,200})[,:]? ?)?"
    r"(?:(?:is|was|could|currently) ){0,2}"
    r"(?:(?:does not|doesn't|not) exist|not (?:be )?found|not supported)"
    r"|model identifier is invalid|(?:unknown|invalid|no such) model|not a valid model"
)

# More than the limit of a minute by itself: no wait will do (Groq with 413, OpenAI with 429).
_TOO_LARGE = r"\brequest (?:is )?too large\b"

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
            r"(?:input|prompt|content|request|message)s? (?:was|were) flagged",
            errors.ProviderRejected,
        ),
        (_NO_MODEL, errors.ProviderModelNotFound),
        (
            r"\b(?:item|result|response|conversation|container|file|vector store)\b.{0,100}"
            r"\bnot found",
            errors.ProviderRejected,
        ),
        (_TOO_LARGE, errors.ProviderRejected),
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
    "not_found": errors.ProviderModelNotFound,  # as the status 404
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
    "already_exists": errors.ProviderRejected,  # from here on: Google's Interactions API
    "failed_precondition": errors.ProviderRejected,
    "invalid_request": errors.ProviderRejected,
    "out_of_range": errors.ProviderRejected,
    "parameter_unknown": errors.ProviderRejected,
    "blocklist": errors.ProviderRejected,  # from here on: why it gave no answer
    "content_blocked": errors.ProviderRejected,
    "image_other": errors.ProviderRejected,
    "image_prohibited_content": errors.ProviderRejected,
    "image_recitation": errors.ProviderRejected,
    "image_safety": errors.ProviderRejected,
    "language": errors.ProviderRejected,
    "prohibited_content": errors.ProviderRejected,
    "recitation": errors.ProviderRejected,
    "safety": errors.ProviderRejected,
    "spii": errors.ProviderRejected,
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
    words = [WORDS[word] for word in refusal.words if word in WORDS]
    if words and not (words[0] is errors.ProviderRateLimited and _is_too_large(refusal, status)):
        return words[0]
    if status is None or status < 500:
        for pattern, verdict in PHRASES:
            if pattern.search(refusal.text):
                return verdict
    if status is None:
        weak = (WEAK_WORDS[word] for word in refusal.words if word in WEAK_WORDS)
        return next(weak, errors.ProviderFailed)
    return STATUSES.get(status, errors.ProviderFailed if status >= 500 else errors.ProviderRejected)


def _is_too_large(refusal: Refusal, status: int | None) -> bool:
    """Whether the request is over the rate limit by itself, so that waiting is of no use."""
    return status == 413 or re.search(_TOO_LARGE, refusal.text, re.IGNORECASE) is not None
