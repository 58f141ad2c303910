"""Holdfast in any ASGI application: mounted at /llm, with its lifespan passed on.

The application's own sessions say who calls, and a route of its own asks without HTTP: it answers
at once, and a browser reads what is written at the URL that it gives (`new EventSource(events)`:
cookies come along by themselves).

Run it: uvicorn in_starlette:app --app-dir examples
And ask: curl http://127.0.0.1:8000/ask -H 'Cookie: session=s3cret' -d 'What is a holdfast?'
Then read: curl -N http://127.0.0.1:8000/llm/v1/streams/ID/events -H 'Cookie: session=s3cret'
"""

from http.cookies import SimpleCookie

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import holdfast

SESSIONS = {"s3cret": "alice"}


def user_of(cookies: str) -> holdfast.Principal | None:
    session = SimpleCookie(cookies).get("session")
    user = SESSIONS.get(session.value) if session else None
    return holdfast.Principal("mine", user) if user else None


async def authorize(asked: holdfast.Asked) -> holdfast.Principal | None:
    return user_of(asked.headers.get("cookie", ""))


settings = holdfast.Settings.model_validate({"log": {"url": "memory://"}})
llm = holdfast.asgi(settings, authorize=authorize)


async def ask(request: Request) -> Response:
    user = user_of(request.headers.get("cookie", ""))
    if user is None:
        return Response(status_code=401)
    question = holdfast.Message("user", (await request.body()).decode())
    wanted = holdfast.Request(model="demo", messages=[question])
    created = await llm.service.create(wanted, holdfast.Origin(owner=user.owner))
    return JSONResponse({"events": f"/llm/v1/streams/{created.stream}/events"})


app = Starlette(
    routes=[Route("/ask", ask, methods=["POST"]), Mount("/llm", llm)],
    lifespan=llm.lifespan,
)
