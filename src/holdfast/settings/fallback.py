"""The tables of who is asked next: further calls after a failure, and routes to providers.

Strategy: like all tables these only hold values. What a failed call is followed by is decided
where answers are produced; whether the providers that a route names exist is checked where the
providers are.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.settings.fields import Count, Duration, Models, Table, Targets, Text


class Fallback(Table):
    """Further calls, and other providers, where one fails."""

    mode: Literal["continue", "restart", "none"] = "continue"
    """What follows an answer that broke off after its first words: `continue` has the next
    provider go on where it stands, `restart` takes it back and has it written anew, `none` ends
    it with the error. Before the first words all three try again. A request may name its own.
    What was read stays true, so the default goes on."""

    otherwise: Literal["restart", "error"] = "restart"
    """What happens where an answer cannot be continued (half a tool call, JSON, several choices,
    or a continuation that told something else): `restart` takes it back and has it written anew,
    `error` ends it. A request may name its own. An answer that begins again is more use than
    half of one."""

    attempts: Count = Field(default=3, ge=1, le=10)
    """Calls to one provider in a row before the next one is asked, the first one counted. Most
    failures pass within two more; more hide that a provider is down."""

    calls: Count = Field(default=10, ge=1, le=100)
    """Calls for one answer in all, the first one counted; then it ends with the last error. Three
    providers with three calls each, and one to spare: each call may cost money."""

    delay: Duration = Field(default=1.0, ge=0, le=300)
    """Wait before the second call to a provider; each later one waits twice as long, and each by
    chance up to half as long again, so that streams that failed together do not come back
    together. Short, as somebody reads."""

    longest_delay: Duration = Field(default=30.0, ge=0, le=3600)
    """The longest wait before such a call, but for what chance adds; and the most that a provider
    may ask for by `Retry-After`: where it asks for more, the next provider is asked instead. Few
    readers wait longer."""

    instruction: Text = "…"
    """What is sent as the last message, to have an answer continued, to a provider that does not
    take the beginning of its answer itself (`providers.*.prefill`). It stands in the conversation,
    and a sentence of ours there could turn the answer into our language: the default is in none.
    One in the language of your users is followed more surely."""

    breaker_failures: Count = Field(default=5, ge=1, le=1000)
    """Failures in a row, of all streams of the node, after which a provider is passed over for
    others. Fewer could be chance; more make readers wait for what is down."""

    breaker_pause: Duration = Field(default=30.0, ge=0.05, le=300)
    """How long such a provider is passed over before one call tries it again; longer after each
    try that fails. Outlasts a restart, and is over soon after a short outage."""


class Route(Table):
    """Providers that are asked one after the other for the same models; the table's name is the
    route's."""

    models: Models = ()
    """Models that lead here, besides one that is called like the route; `*` and `?` are wildcards.
    The first route that fits is taken, before the providers' own `models`; a request that names
    its provider takes none. Empty: the route's name alone, as a name of your own for a model."""

    targets: Targets
    """Who is asked, in this order, each as `provider/model`; the model `*` is the one that the
    request names. Each that is asked gets the conversation, and what was written of the answer.
    Must be given: no guess may send a conversation anywhere."""
