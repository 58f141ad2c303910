"""Why there is no connection, in one sentence that names host and port and nothing else.

Strategy: what event loops, the resolver and OpenSSL raise is told apart here and nowhere else.
"""

from __future__ import annotations

import errno
import socket
import ssl

from holdfast import errors


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
