"""The archive: what outlives the event log, in a database of its own.

`base` is the contract, `sqlite` and `memory` keep it, `url` chooses. For now it holds the API
keys.
"""
