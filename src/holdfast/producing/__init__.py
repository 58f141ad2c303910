"""Producing: from the provider's bytes to the log.

`opening` is how a stream begins, `writers` are all of a node's, `producer` writes one, `attempt`
is one provider call, `pending` gathers pieces, `tally` counts them, `ticker` appends what all
streams gathered, `fallback` decides, `adoption` finds work for what has no writer, `replay`
compares an answer that is told again, `discarding` ends one that a provider keeps.
"""
