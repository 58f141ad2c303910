"""What others may test their parts of Holdfast with; needs pytest and pytest-asyncio.

`eventlog` holds an engine to the event log's contract.
"""
