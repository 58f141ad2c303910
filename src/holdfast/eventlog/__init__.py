"""Event logs: the one channel between who writes an answer and who reads it.

`base` is the contract, each engine is one file, `reader` is the one reader loop, `watch`
puts a poll behind the engines' hints, `url` chooses an engine.
"""
