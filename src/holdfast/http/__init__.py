"""The HTTP surface: the side of the sockets, and the side of the calls.

`server` is the first: uvicorn with the little that we add to it. All else is the second, and
runs under any ASGI server, as one application (`mounted`), or as a router of FastAPI (`included`);
where the server is another's, `signals` tell of its end. A request meets it in this order:
`headers` are those that every answer has, `routes` is the table of all calls, `calls` what each of
them goes through and gets, `auth` who calls, `quotas` what callers are told of their limits,
`limits` how much is taken of a request, `shared` what all hold together; `streams` and
`connections` are what the calls do, and `foreign` those of other APIs. Answers are the JSON of
`views`, the `problems` that errors become, the description of all calls (`openapi`), and event
streams: `sse_response` is a stream's, from a `feed`, which has what all its readers share,
`live_response` a watcher's, and `sse_body` what both say alike.

`sockets` is between the sides: what one response may know of its socket, and do to it.
"""
