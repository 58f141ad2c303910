"""The archive in a file of SQLite.

`archive` has the verbs, `file` the connection and its transactions, `schema` what the file must be;
`keys`, `streams` and `reports` have the statements.
"""

from holdfast.archive.sqlite.archive import SqliteArchive

__all__ = ["SqliteArchive"]
