"""The table of who answers, and `demo`, which is there without one.

Strategy: like all tables these only hold values. Whether there is such a kind is checked where
the providers are; where the key of a kind usually is, `usual` is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator

from holdfast.settings.fields import BaseUrl, Flag, Key, Kind, Models, Named, Table, Variable


class Provider(Table):
    """Who generates answers; the table's name is the provider's."""

    kind: Kind
    """Who it is: a vendor such as `openai` or `groq`, a server such as `ollama`, any server that
    speaks like OpenAI (`openai_chat`, at its `base_url`), or `demo`. Must be given: no guess is
    right for long."""

    base_url: BaseUrl = None
    """Where the provider is. None is the address that its kind knows, or that the kind's usual
    variable names. With an address of its own, only a key of its own is sent there."""

    api_key_env: Variable = None
    """The environment variable that holds the API key, read once at the start. A variable that
    is not set: no key, unless `api_key` gives one. None: the usual one of the kind, if no
    `base_url` is given. Keeps keys out of files."""

    api_key: Key = None
    """The API key itself; it wins over `api_key_env`. None where no variable holds one either:
    requests go out without a key, or are refused where the kind needs one. Shown nowhere."""

    models: Models = ()
    """Models that are this provider's when a request names none; `*` and `?` are wildcards.
    Empty: those that its kind is known for, such as `claude-*`; a kind without any is reached
    only by `provider`, or as `NAME/model`."""

    background: bool = False
    """Whether the provider generates in its background and keeps each answer, so that one whose
    node died is fetched again and goes on exactly. The provider then stores questions and answers
    (OpenAI: at least 30 days, which breaks zero data retention), and the first words come later:
    off, until somebody decides otherwise. Only for `openai_responses` and `open_responses`."""

    prefill: Flag = None
    """Whether the provider takes the beginning of its answer as the last message, so that one that
    broke off is continued from there; else it gets `fallback.instruction` after it. None: what
    its kind is known for. Set it for a server whose models differ from that; `demo` takes none."""


DEMO = Provider(kind="demo", models=("demo", "demo-*"))
"""Answers by itself, so that a node without keys is of use; always there as `demo`."""


def _with_demo(providers: Mapping[str, Provider]) -> Mapping[str, Provider]:
    return MappingProxyType({**providers, "demo": providers.get("demo", DEMO)})


Providers = Annotated[Named[Provider], AfterValidator(_with_demo)]
