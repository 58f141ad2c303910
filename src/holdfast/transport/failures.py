"""Why there is no connection, in one sentence that names host and port and nothing else.

Strategy: what event loops, the resolver and OpenSSL raise is told apart here and nowhere else.
"""

from __future__ import annotations

import errno
import socket
import ssl

from holdfast import errors
from holdfast.transport.proxies import Proxy

# X509_V_ERR_* of OpenSSL's x509_vfy.h that mean: no chain to a root that is trusted.
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})


def why(error: Exception, where: str, *, secure: bool) -> errors.TransportError:
    """The error to raise. `where` is what was being reached, `secure` whether TLS with it had
    begun."""
    if isinstance(error, errors.ProtocolViolation):
        return errors.Unreachable(f"There is no connection to {where}: {error.message}")
    if isinstance(error, TimeoutError):
        return errors.DeadlineExceeded(f"Connecting to {where} took too long.")
    detail = str(getattr(error, "strerror", None) or error).rstrip(".")
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"TLS: the certificate of {where} was refused: {error.verify_message.rstrip('.')}"
        if error.verify_code in _UNKNOWN_AUTHORITY:
            text += (
                ". If that authority is to be trusted, name the file of its certificate: "
                "network.ca_file for a node's calls, ca_file (--ca-file) for a client"
            )
    elif isinstance(error, ssl.SSLError):
        text = f"TLS: the handshake with {where} failed: {error.reason}"
    elif isinstance(error, socket.gaierror):
        text = f"The name in {where} could not be looked up: {detail}"
    # With several addresses the loop raises one OSError that only quotes the others.
    elif isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        text = f"{where} refused the connection"
    elif secure and isinstance(error, ConnectionError):
        text = f"TLS: {where} broke off the handshake"
    else:
        text = f"{where} could not be reached: {detail}"
    return errors.Unreachable(f"{text}.")


def no_tunnel(proxy: Proxy, target: str, status: int) -> errors.Unreachable:
    """The error to raise where the proxy's answer to CONNECT has this status."""
    text = f"The proxy {proxy.host}:{proxy.port} refused a tunnel to {target} with status {status}"
    if status == 407:
        wants = "others than its URL has" if proxy.authorization else "and its URL has none"
        text += f": it wants credentials, {wants} (user:password@host, percent-encoded)"
    return errors.Unreachable(f"{text}.")
