"""Holdfast: streams of LLM answers that do not break.

`AsyncClient` reads an answer over as many connections as it takes, `Client` does so without
`await`; `Service` is the product without HTTP; `asgi` makes a node's ASGI application, alone or to
be mounted in another one, `router` the same for FastAPI.
"""

from holdfast.access.gate import Asked
from holdfast.access.principal import Principal
from holdfast.app import asgi, router
from holdfast.client import AnswerStream, AsyncClient, Client
from holdfast.errors import HoldfastError
from holdfast.http.mounted import App
from holdfast.producing.opening import Created, Origin
from holdfast.request import Message, Request
from holdfast.sealing.ring import Ring, RingKey
from holdfast.sealing.sources import KeySource
from holdfast.service import Service
from holdfast.settings import Settings
from holdfast.version import __version__

__all__ = [
    "AnswerStream",
    "App",
    "Asked",
    "AsyncClient",
    "Client",
    "Created",
    "HoldfastError",
    "KeySource",
    "Message",
    "Origin",
    "Principal",
    "Request",
    "Ring",
    "RingKey",
    "Service",
    "Settings",
    "__version__",
    "asgi",
    "router",
]
