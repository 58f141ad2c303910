"""The archive in PostgreSQL; the only package that knows its driver, which an extra brings.

`archive` has the verbs, `pool` the connections, `schema` the migrations; `keys`, `streams` and
`reports` have the statements.
"""

from holdfast.archive.postgres.archive import PostgresArchive

__all__ = ["PostgresArchive"]
