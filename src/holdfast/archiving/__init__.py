"""Between a node and its archive.

`keeper` joins it all. `reporter` writes what the node reports. For logs that keep streams only for
a while `archiver` writes what has ended into the archive, behind the log, and `behind` is a log
that reads from the archive what has left it.
"""
