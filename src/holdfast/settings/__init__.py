"""Every knob of a node: `fields` the kinds of values, `tables` the knobs, `sources` reads them.

Strategy: `load` is called once, by who starts the node; everybody else gets a frozen
`Settings`, or the few values of it that concern them, and reads no file and no environment.
What many would not look for is beside `tables`, in modules of its own.
`explain` tells where each value came from, `schema` what may be written. A client's command has
no knobs; it asks for `proxies` alone.
"""

from holdfast.settings.access import Archive, Jwt, Plan, Price, Quota
from holdfast.settings.fallback import Fallback, Route
from holdfast.settings.monitoring import Monitoring
from holdfast.settings.providers import Provider
from holdfast.settings.sealing import Sealing
from holdfast.settings.sources import Loaded, load, proxies, read
from holdfast.settings.tables import (
    Compression,
    Deadlines,
    Dialects,
    Log,
    Network,
    Server,
    Settings,
    Streaming,
)
from holdfast.settings.urls import masked
from holdfast.settings.usual import Usual

__all__ = [
    "Archive",
    "Compression",
    "Deadlines",
    "Dialects",
    "Fallback",
    "Jwt",
    "Loaded",
    "Log",
    "Monitoring",
    "Network",
    "Plan",
    "Price",
    "Provider",
    "Quota",
    "Route",
    "Sealing",
    "Server",
    "Settings",
    "Streaming",
    "Usual",
    "load",
    "masked",
    "proxies",
    "read",
]
