"""Telemetry: what happened, for those who watch.

`record` counts as it happens, `counts` is what that comes to, `catalogue` what it is called where
it is shown; `failures` has examples, `alerts` calls people, `tracing` and `otel` tell of one
stream, and `observer` tells the embedder.
"""
