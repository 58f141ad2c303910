"""A server of real processes that is brought to say whatever it can say, with secrets in all of it.

Strategy: everything secret is a canary: keys of providers and callers, tokens, signatures, prompts,
answers, the stores' own secrets. One scripted provider tells them back in every way in which
providers fail; callers send them where they do not belong. What comes out is kept in three heaps:
what the process says to its operator, what callers get who may not know, and what the owner gets,
who knows the prompt. Nothing is judged here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.faults import canaries, served
from tests.integration import asking, harness, node_with_callers, processes
from tests.unit.access import issuers

from holdfast.sealing import codec, ring, sealer
from holdfast.testing import provider as replay

LONG = "x" * 300_000
"""More than a head may have."""

PLANT = """
import asyncio
import threading
from holdfast.http import views
from holdfast.producing import attempt
from holdfast.cli import main

def failing(info, so_far, page=None):
    said = so_far.choice().content
    try:
        {}[said]
    except KeyError:
        raise ValueError(f"cannot show {said}")

async def failing_too(said):
    raise ValueError(said)

def failing_aside(said):
    raise ValueError(said)

class Failing:
    def __init__(self, said):
        self.said = said

    def __del__(self):
        raise ValueError(self.said)

body = attempt.Attempt.body

def failing_within(self, data):
    if b"bug in a callback" in data:
        raise ValueError(data.decode())
    if b"bug in a task" in data:
        asyncio.ensure_future(failing_too(data.decode()))
        threading.Thread(target=failing_aside, args=[data.decode()]).start()
        Failing(data.decode())
    body(self, data)

views.stream = failing
attempt.Attempt.body = failing_within
main()
"""
"""A server with bugs, whose exceptions say what was in hand."""


class Secrets:
    """What is planted. `keys` are API keys by name, as they are sent."""

    def __init__(self) -> None:
        self.provider = f"{canaries.letters(24)}+/={canaries.letters(24)}"
        self.second = canaries.letters(40)
        self.prompt = f'{canaries.letters(30)} "ü" {canaries.letters(30)}'
        self.answer = f"{canaries.letters(30)} € {canaries.letters(30)}"
        self.wrong = f"hfk_{canaries.letters(12)}_{canaries.letters(43)}"
        self.mistyped = canaries.letters(40)
        self.keys: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.signatures: list[str] = []
        self.stores: list[bytes] = []
        # Of letters, so that it has every form that a text has.
        self.ring = canaries.letters(codec.KEY_BYTES)

    def credentials(self) -> list[canaries.Canary]:
        """What nobody is ever told, by any way, once it was given."""
        found = [
            canaries.Canary("provider's key", self.provider),
            canaries.Canary("second provider's key", self.second),
            canaries.Canary("wrong key", self.wrong.rpartition("_")[2], self.wrong),
            canaries.Canary("mistyped secret", self.mistyped),
            canaries.Canary("key of the ring", self.ring),
        ]
        found += [
            canaries.Canary(f"key of {name}", key.rpartition("_")[2], key)
            for name, key in self.keys.items()
        ]
        found += [
            canaries.Canary(f"token {name}", token.rpartition(".")[2], token)
            for name, token in self.tokens.items()
        ]
        return found + [canaries.Canary("signature", said) for said in self.signatures]

    def everything(self) -> list[canaries.Canary]:
        said = [canaries.Canary("prompt", self.prompt), canaries.Canary("answer", self.answer)]
        stores = [canaries.Canary("store's secret", secret.hex()) for secret in self.stores]
        return [*self.credentials(), *said, *stores]


class Heaps:
    """What came out: by whom, and where it was."""

    def __init__(self) -> None:
        self.operator: dict[str, bytes] = {}
        self.strangers: dict[str, bytes] = {}
        self.owner: dict[str, bytes] = {}
        self.stored: dict[str, bytes] = {}
        """What lay in the stores at the end of each life, while they were open still."""
        self.statuses: set[int] = set()
        self.codes: set[str] = set()
        """With which errors streams ended."""


class Node:
    """A running process. What it says is in `log`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process, self.log, self.port = process, log, 0

    async def ready(self) -> bool:
        said = self.log.read_bytes()
        found = re.search(rb"""(?:serves |"url":")http://127\.0\.0\.1:(\d+)""", said)
        if found:
            self.port = int(found[1])
        return bool(found) or self.process.returncode is not None

    async def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        async with asyncio.timeout(processes.PATIENCE):
            return await self.process.wait()

    def proc(self, name: str) -> bytes:
        return Path(f"/proc/{self.process.pid}/{name}").read_bytes()

    def children(self) -> dict[str, bytes]:
        """The command line and the environment of whatever it has started."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        pids = [pid for task in tasks for pid in (task / "children").read_text().split()]
        return {
            f"{what} of the child {pid}": Path(f"/proc/{pid}/{what}").read_bytes()
            for pid in pids
            for what in ("cmdline", "environ")
        }


class Teller:
    """All that is driven, in the folder `place`, where `holdfast.toml` and the stores are."""

    def __init__(self, place: Path, said: Path) -> None:
        self.place, self._said = place, said
        self.secrets, self.heaps = Secrets(), Heaps()
        self.gate = asyncio.Event()
        self.provider = replay.ReplayServer(self._answer)
        self.issuer = replay.ReplayServer(lambda asked: _key_set())

    # The provider

    def _answer(self, asked: replay.Request) -> replay.Answer:
        model = asked.json()["model"]
        key = asked.headers.get("authorization", "").removeprefix("Bearer ")
        echo = f"It was {key}, {key[:20]} ... {key[-20:]}. You said: {self.secrets.prompt}"
        answer, failed = (
            self.secrets.answer,
            {"error": {"message": echo, "type": key, "code": None}},
        )
        said, stop = asking.chunk(answer), asking.STOP
        name, _, number = model.partition("-")
        error, kind = msgspec.json.encode(failed), ("Content-Type", "application/json")
        streams: Mapping[str, replay.Answer] = {
            "ok": replay.Answer(body=(said, stop)),
            "long": replay.Answer(body=(said, *[asking.chunk(f"{answer} ")] * 500, stop)),
            "event": replay.Answer(body=(said, b"data: %b\n\n" % error)),
            "cut": replay.Answer(body=(said,), ending="fin"),
            "reset": replay.Answer(body=(said,), ending="rst"),
            "stall": replay.Answer(body=(said,), ending="stall"),
            "gate": replay.Answer(body=(said, self.gate, said, stop)),
            "broken": replay.Answer(body=(said, b'data: {"choices": [%b\n\n' % echo.encode())),
            "wrong": replay.Answer(body=(said, b'data: {"choices": "%b"}\n\n' % answer.encode())),
            "text": replay.Answer(body=(echo.encode(),), headers=(("Content-Type", "text/plain"),)),
            "json": replay.Answer(body=(error,), headers=(kind, ("X-Key", key))),
            "html": replay.Answer(status=502, body=(b"<html>" + echo.encode(),)),
            "bug": replay.Answer(body=(said, b": bug in a callback\n\n", said, stop)),
            "task": replay.Answer(body=(said, b": bug in a task\n\n", said, stop)),
        }
        if name == "status":
            return replay.Answer(
                status=int(number[:3]), body=(error,), headers=(kind, ("X-Key", key))
            )
        return streams[name]

    # The node

    def configure(self) -> None:
        """Writes the settings, and the key ring beside what is said, where no store is."""
        self._ring = ring.Ring((ring.RingKey("c" * 16, self.secrets.ring.encode(), 0),))
        keys = self._said / "ring.keys"
        keys.write_bytes(ring.dump(self._ring))
        keys.chmod(0o600)
        (self.place / "holdfast.toml").write_text(
            f'[server]\nheartbeat_interval = "200ms"\ndrain_timeout = "100ms"\n'
            f'[monitoring]\nlog_level = "debug"\naccess_log = true\n'
            f'[deadlines]\nbetween_contents = "2s"\n'
            f'[sealing]\nkeys = "{keys}"\nrotate_every = "0s"\n'
            f"[fallback]\nattempts = 1\nbreaker_failures = 1000\n"
            f'[jwt]\nissuer = "{issuers.RULES.issuer}"\naudience = "{issuers.RULES.audience}"\n'
            f'keys_url = "{self.issuer.url}/keys"\ntenant_claim = "tenant"\n'
            f'[providers.vendor]\nkind = "openai_chat"\nbase_url = "{self.provider.url}/v1"\n'
            f'api_key_env = "CANARY"\n'
            f'[providers.second]\nkind = "openai_chat"\nbase_url = "http://127.0.0.1:1/v1"\n'
            f'api_key = "{self.secrets.second}"\n'
        )

    @property
    def env(self) -> dict[str, str]:
        return {"CANARY": self.secrets.provider}

    async def command(self, *args: str, **more: Any) -> processes.Done:
        env = {**self.env, **(more.pop("env", None) or {})}
        return await processes.run(*args, folder=self.place, env=env, **more)

    async def make_keys(self) -> None:
        for name, options in {
            "alice": ("--tenant", "acme", "--user", "alice"),
            "bob": ("--tenant", "globex"),
            "overseer": ("--tenant", "ops", "--scope", "read", "--scope", "admin"),
            "poor": ("--tenant", "poor", "--tokens-per-minute", "40"),
            "rare": ("--tenant", "rare", "--requests-per-minute", "1"),
            "gone": ("--tenant", "acme"),
            "brief": ("--tenant", "acme", "--expires", "1s"),
        }.items():
            done = await self.command("keys", "create", name, *options)
            assert done.code == 0, done.err
            self.secrets.keys[name] = done.out.strip()
            self.heaps.operator[f"keys create {name}, stderr"] = done.err.encode()
        gone = self.secrets.keys["gone"].split("_")[1]
        for args in (["revoke", gone], ["list"], ["list", "--json"]):
            done = await self.command("keys", *args)
            assert done.code == 0, done.err
            self.heaps.operator[f"keys {args[0]}"] = (done.out + done.err).encode()
        now = int(time.time())
        wanted: dict[str, dict[str, Any]] = {
            "carol": {"exp": now + 3600},
            "late": {"exp": now - 3600},
            "other": {"exp": now + 3600, "aud": "somebody else"},
        }
        for name, claims in wanted.items():
            text = issuers.claims(iat=now - 7200, tenant="acme", sub="carol", scope=None, **claims)
            self.secrets.tokens[name] = issuers.token(text)
        # Of a key that is not the issuer's.
        forged = issuers.token(text, key=issuers.private("P-256", "forger"))
        self.secrets.tokens["forged"] = forged
        self.secrets.stores = [self.secret_of(file) for file in self.place.glob("*.db")]

    def secret_of(self, file: Path) -> bytes:
        """What a store's ids and signatures hang on, opened by the ring."""
        with contextlib.closing(sqlite3.connect(file)) as db:
            (sealed,) = db.execute("SELECT value FROM meta WHERE name LIKE '%secret'").fetchone()
            guards = dict(db.execute("SELECT * FROM guard").fetchall())
        key = sealer.Sealer(self._ring).open_store(guards, str(file))
        assert key is not None
        return key.codec.unpack(codec.SECRET, sealed)

    def stored(self) -> dict[str, bytes]:
        """Every file of the stores, as it lies there."""
        files = [path for path in self.place.rglob("*") if path.is_file()]
        return {path.name: path.read_bytes() for path in files if path.suffix != ".toml"}

    @contextlib.asynccontextmanager
    async def serving(
        self, name: str, command: tuple[str, ...] = processes.COMMAND, log_format: str = "json"
    ) -> AsyncIterator[Node]:
        """A server; what it says ends up with the operator."""
        env = {**self.env, "HOLDFAST_MONITORING__LOG_FORMAT": log_format}
        log = self._said / f"{name}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command,
                *("serve", "--port", "0"),
                cwd=self.place,
                env=processes.environment(env),
                stdout=out,
                stderr=out,
            )
        node = Node(process, log)
        try:
            await served.until(node.ready)
            assert node.port, log.read_text()
            self.heaps.operator[f"{name}, command line"] = node.proc("cmdline")
            yield node
            found = self.stored()
            self.heaps.stored |= {f"{name}, {file}": data for file, data in found.items()}
            if process.returncode is None:
                self.heaps.operator |= node.children()
        finally:
            if process.returncode is None:
                process.kill()
            async with asyncio.timeout(processes.PATIENCE):
                await process.wait()
            self.heaps.operator[f"{name}, log"] = log.read_bytes()

    # The callers

    def headers(self, name: str | None) -> dict[str, str]:
        known = {**self.secrets.keys, **self.secrets.tokens, "wrong": self.secrets.wrong}
        return {} if name is None else dict(node_with_callers.bearer(known[name]))

    async def tell(
        self,
        node: Node,
        who: str | None,
        method: str,
        target: str,
        body: bytes = b"",
        more: node_with_callers.Headers | None = None,
        until: Callable[[bytes], bool] | None = None,
    ) -> bytes:
        """One request, its whole answer, and the heap that this is for: the owner's, where it is a
        success of hers. With `until` it goes away once that is true."""
        fields = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body))}
        fields |= {**self.headers(who), **(more or {})}
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items())]
        sent = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        got = await _said(node.port, sent, until)
        status = int(got[9:12]) if got else 0
        self.heaps.statuses.add(status)
        self.heaps.codes |= {code.decode() for code in re.findall(rb'"code":"(\w+)"', got)}
        own = status < 400 and who in ("alice", "carol", "poor")
        heap = self.heaps.owner if own else self.heaps.strangers
        heap[f"{len(heap)}: {who} {method} {target[:60]} {status}"] = got
        return got

    async def asks(self, node: Node, who: str, model: str, **more: Any) -> bytes:
        """An answer of the scripted provider, read to its end."""
        said = [{"role": "user", "content": self.secrets.prompt}]
        body = harness.wanted(f"vendor/{model}", messages=said)
        return await self.tell(node, who, "POST", "/v1/streams", body, asking.SSE, **more)


def stream_of(answer: bytes) -> str:
    found = re.search(rb"(?i)x-stream-id: (\w+)", answer)
    assert found, answer[:500]
    return found[1].decode()


async def _said(port: int, sent: bytes, until: Callable[[bytes], bool] | None) -> bytes:
    got = bytearray()
    async with asyncio.timeout(processes.PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(harness.READ):
                got += piece
                if until is not None and until(bytes(got)):
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return bytes(got)


def _key_set() -> replay.Answer:
    headers = (("Content-Type", "application/json"),)
    shown = issuers.jwk(issuers.private("P-256"), node_with_callers.KID)
    return replay.Answer(body=(issuers.document(shown),), headers=headers, framing="length")


BUGS = (sys.executable, "-c", PLANT)
