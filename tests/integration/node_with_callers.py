"""A node that knows callers of every kind: API keys, an issuer's tokens, signed URLs, a hook.

Strategy: the node is built as the command line builds it. Its keys lie in a file of their own,
which the test opens beside it as `holdfast keys` does; the issuer is a server on loopback that
shows the keys that the test says; and what the gate takes for the time is a number that the test
moves, so that an hour is a line.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.integration import asking, harness
from tests.unit.access import issuers

from holdfast import app
from holdfast.access import gate, keys, principal
from holdfast.archive import base, url
from holdfast.testing import provider as replay

HOOK = "x-caller"
"""The header that the hook goes by: the name of one of its principals."""

KID = issuers.KID["P-256"]

Headers = Mapping[str, str]


class Clock:
    """What the gate takes for the time: `now`, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Who(msgspec.Struct, frozen=True):
    """For whom a key is made; it ends after so many seconds."""

    tenant: str
    user: str = ""
    scopes: tuple[str, ...] = ("generate", "read")
    lasts: float | None = None


class Stage(msgspec.Struct, frozen=True):
    """`keys` has the texts of the keys by name, `shown` what the issuer shows as its keys."""

    server: harness.Running
    archive: base.Archive
    keys: dict[str, str]
    shown: list[dict[str, Any]]
    clock: Clock

    def key(self, name: str) -> Headers:
        """The key of this name, as it is sent."""
        return bearer(self.keys[name])

    async def revoke(self, name: str) -> None:
        """As `holdfast keys revoke` does it."""
        key_id = self.keys[name].split("_")[1]
        assert await self.archive.revoke(key_id, int(self.clock.now * 1000)) is not None

    def token(self, tenant: str, user: str, lasts: float = 3600.0, **claims: Any) -> Headers:
        """A token of the issuer's for so many seconds, as it is sent."""
        said = {"iat": int(self.clock.now), "exp": int(self.clock.now + lasts), **claims}
        text = issuers.claims(tenant=tenant, sub=user, scope=None, **said)
        return bearer(issuers.token(text))

    async def link(self, stream: str, asker: Headers) -> str:
        """A signed URL of a stream's events, made by who may read it."""
        made = await harness.ask(
            self.server.port, "POST", f"/v1/streams/{stream}/links", asker, b""
        )
        assert made.status == 201, made.body
        return str(made.json()["url"])


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def hook(principals: Mapping[str, principal.Principal]) -> gate.Authorize:
    """Knows whoever names one of these in `HOOK`, and nobody else."""

    async def authorize(asked: gate.Asked) -> principal.Principal | None:
        return principals.get(asked.headers.get(HOOK, ""))

    return authorize


@contextlib.asynccontextmanager
async def staged(
    folder: Path,
    people: Mapping[str, Who],
    hooked: Mapping[str, principal.Principal] | None = None,
    **tables: Any,
) -> AsyncIterator[Stage]:
    """Serves a node whose log and keys are in `folder`, with a key for each of `people`; with a
    hook where `hooked` names whom it knows."""
    shown = [issuers.jwk(issuers.private("P-256"), KID)]
    archive = url.open_archive(f"sqlite:///{folder}/keys.db", "")
    await archive.start()
    clock = Clock()
    made = {name: await _made(archive, who, clock.now) for name, who in people.items()}
    async with replay.ReplayServer(lambda asked: _key_set(shown)) as issuer:
        config = harness.configured(
            tables.pop("log_url", f"sqlite:///{folder}/log.db"),
            archive={"url": f"sqlite:///{folder}/keys.db"},
            jwt={
                "issuer": issuers.RULES.issuer,
                "audience": issuers.RULES.audience,
                "keys_url": f"{issuer.url}/keys",
                "algorithms": ("ES256",),
                "tenant_claim": "tenant",
            },
            **tables,
        )
        node = app.asgi(config, authorize=hook(hooked) if hooked else None)
        assert node.service.access is not None
        node.service.access._clock = clock
        async with harness.serving(node) as server:
            yield Stage(server, archive, made, shown, clock)
            await asking.idle(server)
    await archive.close()


async def _made(archive: base.Archive, who: Who, now: float) -> str:
    text, kept = keys.new(
        archive.secret,
        "test",
        who.tenant,
        user=who.user,
        scopes=who.scopes,
        now=int(now * 1000),
        expires_at=None if who.lasts is None else int((now + who.lasts) * 1000),
    )
    await archive.add(kept)
    return text


def _key_set(shown: list[dict[str, Any]]) -> replay.Answer:
    headers = (("Content-Type", "application/json"),)
    return replay.Answer(body=(issuers.document(*shown),), headers=headers, framing="length")
