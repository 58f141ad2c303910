"""The HTTP surface.

`routes` is the table of all calls, `streams` and `connections` are what they do, `views` the
JSON that they answer, `problems` their errors, `auth` who may, `limits` how much is taken.
`sse_response` is the only writer of SSE bodies, from a `feed`; `server` is uvicorn with the
little that we add to it.
"""
