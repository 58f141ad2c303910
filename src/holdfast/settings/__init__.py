"""Every knob of a node: `fields` the kinds of values, `tables` the knobs, `sources` reads them.

Strategy: `load` is called once, by who starts the node; everybody else gets a frozen
`Settings`, or the few values of it that concern him, and reads no file and no environment.
"""

from holdfast.settings.sources import load
from holdfast.settings.tables import (
    Compression,
    Deadlines,
    Encryption,
    Fallback,
    Log,
    Monitoring,
    Provider,
    Server,
    Settings,
    Streaming,
)

__all__ = [
    "Compression",
    "Deadlines",
    "Encryption",
    "Fallback",
    "Log",
    "Monitoring",
    "Provider",
    "Server",
    "Settings",
    "Streaming",
    "load",
]
