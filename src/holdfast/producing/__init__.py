"""Producing: from the provider's bytes to the log.

`producer` writes one stream, `attempt` is one provider call, `pending` gathers pieces,
`ticker` appends what all streams gathered, `fallback` decides, `supervisor` owns the tasks.
"""
