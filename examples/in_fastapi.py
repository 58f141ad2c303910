"""Holdfast in your own FastAPI application, below /llm, with your own routes beside it.

Run it: uvicorn in_fastapi:app --app-dir examples
And ask: curl -N http://127.0.0.1:8000/llm/v1/streams -H 'Accept: text/event-stream' \\
              -H 'Content-Type: application/json' \\
              -d '{"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]}'
"""

import fastapi

import holdfast

app = fastapi.FastAPI(title="Mine")
app.include_router(holdfast.router(), prefix="/llm")  # as holdfast.toml and HOLDFAST_* say


@app.get("/")
async def home() -> dict[str, str]:
    return {"hello": "world"}
