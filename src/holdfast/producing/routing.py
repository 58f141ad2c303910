"""Whom a stream may ask, and how far it may go: the node's settings and the request's own wish.

Strategy: values from values. A stream that is taken over goes by the configuration of now; whom its
answer was left to stays among its targets as long as there is a provider of that name.
"""

from __future__ import annotations

import msgspec

from holdfast import errors, request
from holdfast.producing import breaker, course, disclosing, fallback
from holdfast.providers import registry


class Routing:
    """`policy` and `instruction` are the node's, `strict` is a route's."""

    def __init__(
        self,
        providers: registry.Registry,
        policy: fallback.Policy,
        instruction: str,
        *,
        strict: bool = True,
    ) -> None:
        self._providers, self._policy = providers, policy
        self._instruction, self._strict = instruction, strict

    def begin(
        self, wanted: request.Request, breakers: breaker.Breakers, now: float
    ) -> tuple[course.Route, course.Call]:
        """The route of a new stream and its first call: to whose breaker lets calls through, and
        who can be asked for this. Raises what `Registry.targets` raises, and what keeps the route's
        first target from it, where nobody can."""
        targets = self._providers.targets(wanted)
        shut = [breakers.of(target.provider.name).shut(now) for target in targets]
        refused: dict[int, errors.HoldfastError] = {}
        for number in fallback.order(shut):
            target = targets[number]
            route = self._made(targets, target.name, wanted, targets[0].provider.kind)
            try:
                seen = disclosing.shown(wanted, target, route.kind, strict=route.strict)
                call = course.Call(number, target.provider.prepare(seen, target.model))
            except (errors.RequestError, errors.SettingsError) as error:
                refused[number] = error
            else:
                return route, call
        raise refused[0]

    def again(
        self, wanted: request.Request, first: str, latest: str
    ) -> tuple[course.Route, int | None]:
        """The route of a stream whose first call went to the target `first` (`provider/model`) and
        whose latest to `latest`, and the place of that on it; None where its provider is not there
        any more."""
        try:
            targets = self._providers.targets(wanted)
        except errors.RequestError:  # the configuration is another one now
            targets = ()
        # Whose parts may stand in the conversation is told by the route's own first target.
        kind = targets[0].provider.kind if targets else ""
        names = [target.name for target in targets]
        if latest not in names:
            provider, _, model = latest.partition("/")
            if provider not in self._providers.names:
                return self._made(targets, first, wanted, kind), None
            targets = (registry.Target(self._providers.get(provider), model), *targets)
            names = [latest, *names]
        return self._made(targets, first, wanted, kind), names.index(latest)

    def _made(
        self,
        targets: tuple[registry.Target, ...],
        first: str,
        wanted: request.Request,
        kind: str,
    ) -> course.Route:
        policy, wish = self._policy, wanted.fallback
        if wish is not None:
            policy = msgspec.structs.replace(
                policy,
                mode=wish.mode or policy.mode,
                otherwise=wish.otherwise or policy.otherwise,
            )
        if wanted.foreign is not None:
            kind = wanted.foreign.kind
        return course.Route(targets, first, policy, self._instruction, kind, self._strict)
