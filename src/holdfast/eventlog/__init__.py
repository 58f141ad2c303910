"""Event logs: the one channel between who writes an answer and who reads it.

`base` is the contract, `memory` and `sqlite` are engines around the state machine of
`streams`, `reader` is the one reader loop, `watch` puts a poll behind the engines' hints,
`url` chooses an engine.
"""
