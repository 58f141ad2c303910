"""Your own way to know callers: Holdfast asks your code who somebody is.

Run it: .venv/bin/python examples/sessions.py
"""

import asyncio
import socket

import uvicorn

import holdfast

SESSIONS = {"s3cret-a": "alice", "s3cret-b": "bob"}


async def authorize(asked: holdfast.Asked) -> holdfast.Principal | None:
    """Any of your own: a cookie, a header, a database. None is nobody."""
    session = asked.headers.get("authorization", "").removeprefix("Bearer ")
    user = SESSIONS.get(session)
    return None if user is None else holdfast.Principal("acme", user)


async def try_to_read(name: str, session: str, url: str, stream: str) -> None:
    async with holdfast.AsyncClient(url, session) as client:
        try:
            found = await client.get(stream)
            print(f"{name}: {found['status']}, {len(found['content'])} characters")
        except holdfast.HoldfastError as error:
            print(f"{name}: {error.code}")


async def main() -> None:
    settings = holdfast.Settings.model_validate({"log": {"url": "memory://"}})
    node = holdfast.asgi(settings, authorize=authorize)
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(node, log_level="warning", lifespan="off"))
    async with node.service, asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[bound]))
        async with (
            holdfast.AsyncClient(url, "s3cret-a") as client,
            client.stream(model="demo", prompt="/demo tokens=30 rate=1000") as answer,
        ):
            await answer.final()
        for name, session in (("alice", "s3cret-a"), ("bob", "s3cret-b"), ("nobody", "x")):
            await try_to_read(name, session, url, answer.stream_id)
        server.should_exit = True


asyncio.run(main())
