"""The archive: what outlives the event log, in a database of its own.

`base` is the contract; `memory`, `sqlite` and `postgres` keep it, `url` chooses. `rows` and
`records` are the values that all of them store, `migrations` their schemas, `attempts` a fold for
who keeps a stream.
"""
