"""The SQLite engine, the embedded default: the memory engine plus a redo log.

`engine` has the contract's verbs, `writer` is the thread that makes operations durable,
`redo` what the file's blobs hold, `schema`, `file` and `lookups` the file itself.
"""
