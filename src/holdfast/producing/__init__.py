"""Producing: from the provider's bytes to the log.

`opening` is how a stream begins, `producer` writes it, `attempt` is one provider call,
`pending` gathers pieces, `ticker` appends what all streams gathered, `fallback` decides,
`adoption` ends what has no writer, `supervisor` owns the tasks.
"""
