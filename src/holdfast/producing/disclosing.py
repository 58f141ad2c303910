"""What a target may see of a request.

Strategy: what a provider made for itself in earlier answers (reasoning with its signatures,
encrypted items) is for its kind alone, and so is a field that only its kind knows. The first is
left out for others, since nothing is lost that people wrote; the second would make another answer
than was asked for, so by default whoever cannot be told of it is not asked. A conversation that is
kept as another API has it is written for others in the form that all know.
"""

from __future__ import annotations

import msgspec

from holdfast import errors, request
from holdfast.providers import anthropic, asked, registry

COMMON = {"anthropic": anthropic.common}
"""Of kinds whose own form a request is kept in: the way to the form that all know."""


def shown(
    wanted: request.Request, target: registry.Target, kind: str, *, strict: bool
) -> request.Request:
    """The request as this target gets it. `kind` is the one whose own parts may stand in it. Raises
    `errors.InvalidField` where a field would be lost that `strict` keeps."""
    if target.provider.kind == kind:
        return wanted
    if wanted.foreign is not None:
        lost = wanted.foreign.fields.keys() - set(wanted.foreign.harmless)
        if lost and strict:
            raise errors.InvalidField(
                f"{', '.join(sorted(lost))}: the provider {target.provider.name} is of another "
                "kind and has no such field; leave it out, or set dialects.unknown_fields to drop."
            )
        if wanted.foreign.kind in COMMON:
            wanted = COMMON[wanted.foreign.kind](wanted)
    messages = asked.portable(wanted.messages)
    return msgspec.structs.replace(wanted, messages=messages, foreign=None)
