"""From the log to the archive, and back for who reads: for logs that keep streams only for a while.

`archiver` writes what has ended into the archive, behind the log; `behind` is a log that reads from
the archive what has left it.
"""
