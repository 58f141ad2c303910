"""Telemetry: what happened, for those who watch.

`observer` tells it as it happens, `counts` in sums.
"""
