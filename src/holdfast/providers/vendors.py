"""Who can be asked, as rows of data: where they are, what they speak, where their key is.

Strategy: a kind in the configuration is the name of a row. A vendor of a format that is there
already is a row and no code; what such vendors do differently are the fields of their format.

Base URLs, names of keys and options are those of the vendors' own API references and clients;
a vendor whose URL could not be confirmed has no row and can be reached as `openai_chat` with a
`base_url`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.providers import (
    anthropic,
    base,
    google,
    google_interactions,
    openai_chat,
    openai_responses,
)


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor, or one kind of server."""

    name: str
    format: base.Format
    base_url: str | None
    """Without a slash at its end. None: the operator must give one."""
    api_key_env: tuple[str, ...] = ()
    """The environment variables in which its own clients look for the key, the first one
    first. Empty: it needs none."""
    base_url_env: str | None = None
    """The variable in which its own clients look for another base URL."""
    models: tuple[str, ...] = ()
    """Patterns (`fnmatch`) of its models' names that nobody else has."""


_ROWS = (
    Vendor(
        name="openai",
        format=openai_chat.Format(
            obfuscation_option=True,
            max_tokens="max_completion_tokens",
            developer_role=True,
            closed=True,
        ),
        base_url="https://api.openai.com/v1",
        api_key_env=("OPENAI_API_KEY",),
        base_url_env="OPENAI_BASE_URL",
        models=("gpt-*", "chatgpt-*", "o[1-9]", "o[1-9]-*"),
    ),
    Vendor(
        name="openai_responses",
        format=openai_responses.Format(obfuscation_option=True, developer_role=True),
        base_url="https://api.openai.com/v1",
        api_key_env=("OPENAI_API_KEY",),
        base_url_env="OPENAI_BASE_URL",
    ),
    Vendor(
        name="anthropic",
        format=anthropic.Format(),
        base_url="https://api.anthropic.com",
        api_key_env=("ANTHROPIC_API_KEY",),
        base_url_env="ANTHROPIC_BASE_URL",
        models=("claude-*",),
    ),
    Vendor(
        name="google",
        format=google.Format(),
        base_url="https://generativelanguage.googleapis.com",
        api_key_env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        base_url_env="GOOGLE_GEMINI_BASE_URL",
        models=("gemini-*", "gemma-*"),
    ),
    Vendor(
        name="google_interactions",
        format=google_interactions.Format(),
        base_url="https://generativelanguage.googleapis.com",
        api_key_env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        base_url_env="GOOGLE_GEMINI_BASE_URL",
    ),
    Vendor(
        name="deepseek",
        format=openai_chat.Format(takes_n=False),
        base_url="https://api.deepseek.com/v1",
        api_key_env=("DEEPSEEK_API_KEY",),
        models=("deepseek-*",),
    ),
    Vendor(
        name="groq",
        format=openai_chat.Format(
            max_tokens="max_completion_tokens", takes_n=False, takes_names=False
        ),
        base_url="https://api.groq.com/openai/v1",
        api_key_env=("GROQ_API_KEY",),
    ),
    Vendor(
        name="mistral",
        format=openai_chat.Format(usage_option=False, takes_names=False),
        base_url="https://api.mistral.ai/v1",
        api_key_env=("MISTRAL_API_KEY",),
        models=("mistral-*", "ministral-*", "magistral-*", "codestral-*", "pixtral-*"),
    ),
    Vendor(
        name="openrouter",
        format=openai_chat.Format(takes_n=False),
        base_url="https://openrouter.ai/api/v1",
        api_key_env=("OPENROUTER_API_KEY",),
    ),
    Vendor(
        name="xai",
        format=openai_chat.Format(),
        base_url="https://api.x.ai/v1",
        api_key_env=("XAI_API_KEY",),
        models=("grok-*",),
    ),
    Vendor(
        name="perplexity",
        format=openai_chat.Format(usage_option=False, takes_n=False),
        base_url="https://api.perplexity.ai",
        api_key_env=("PERPLEXITY_API_KEY",),
        models=("sonar", "sonar-*"),
    ),
    Vendor(
        name="together",
        format=openai_chat.Format(usage_option=False),
        base_url="https://api.together.xyz/v1",
        api_key_env=("TOGETHER_API_KEY",),
    ),
    Vendor(
        name="fireworks",
        format=openai_chat.Format(usage_option=False),
        base_url="https://api.fireworks.ai/inference/v1",
        api_key_env=("FIREWORKS_API_KEY",),
    ),
    Vendor(
        name="cerebras",
        format=openai_chat.Format(
            usage_option=False, max_tokens="max_completion_tokens", takes_n=False
        ),
        base_url="https://api.cerebras.ai/v1",
        api_key_env=("CEREBRAS_API_KEY",),
    ),
    Vendor(
        name="moonshot",
        format=openai_chat.Format(),
        base_url="https://api.moonshot.ai/v1",
        api_key_env=("MOONSHOT_API_KEY",),
        models=("kimi-*", "moonshot-*"),
    ),
    Vendor(
        name="alibaba",
        format=openai_chat.Format(),
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        api_key_env=("DASHSCOPE_API_KEY",),
        models=("qwen-*", "qwen[0-9]*-*"),
    ),
    Vendor(
        name="zai",
        format=openai_chat.Format(
            usage_option=False, takes_n=False, tool_choices=("auto",), parallel_option=False
        ),
        base_url="https://api.z.ai/api/paas/v4",
        api_key_env=("ZAI_API_KEY",),
        models=("glm-*",),
    ),
    Vendor(
        name="nvidia",
        format=openai_chat.Format(),
        base_url="https://integrate.api.nvidia.com/v1",
        api_key_env=("NVIDIA_API_KEY",),
    ),
    Vendor(
        name="ollama",
        format=openai_chat.Format(takes_n=False, tool_choices=("auto",), parallel_option=False),
        base_url="http://localhost:11434/v1",
    ),
    Vendor(name="vllm", format=openai_chat.Format(), base_url="http://localhost:8000/v1"),
    Vendor(
        name="lmstudio",
        format=openai_chat.Format(takes_n=False, tool_choices=("auto", "none", "required")),
        base_url="http://localhost:1234/v1",
    ),
    Vendor(name="openai_chat", format=openai_chat.Format(), base_url=None),
    Vendor(name="open_responses", format=openai_responses.Format(), base_url=None),
)

VENDORS: Mapping[str, Vendor] = {row.name: row for row in _ROWS}
"""The rows by kind. `openai_chat` and `open_responses` are any servers of the chat and
of the Responses format, at a `base_url` of their own."""


def in_background(vendor: Vendor) -> base.Format | None:
    """The vendor's format where its answers are to be kept; None where it has no such thing."""
    if isinstance(vendor.format, openai_responses.Format):
        return msgspec.structs.replace(vendor.format, background=True)
    return None


def padded(format: base.Format) -> base.Format:
    """The same where the way from the provider is listened to: its padding is not left out."""
    if isinstance(format, openai_chat.Format | openai_responses.Format):
        return msgspec.structs.replace(format, obfuscation_option=False)
    return format
