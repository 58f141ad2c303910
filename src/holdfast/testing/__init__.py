"""What others may test their parts of Holdfast with; needs pytest and pytest-asyncio.

`eventlog` holds an engine to the event log's contract. `provider` plays a provider, `fault_proxy`
a bad network. `simulated` is an event loop whose clock is a number and whose order comes from a
seed; `simulation` runs a whole node on it. What was seen in a run with faults is a `history`, which
`checker` judges by the `invariants`.
"""
