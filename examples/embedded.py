"""Holdfast inside your own program, without HTTP.

Run it: python examples/embedded.py
"""

import asyncio

import holdfast


async def main() -> None:
    settings = holdfast.Settings.model_validate({"log": {"url": "memory://"}})
    async with holdfast.asgi(settings).service as service:
        question = holdfast.Message("user", "What is a holdfast?\n/demo tokens=30 rate=1000")
        created = await service.create(holdfast.Request(model="demo", messages=[question]))
        async for event in service.events(created.stream):
            print(event.position, event.kind, event.data.decode())
        answer = await service.get(created.stream)
        print(answer.status, len(answer.choice().content), "characters")


asyncio.run(main())
