"""TLS without a socket: bytes of the network in, plain bytes out, and the other way.

Strategy: `ssl.SSLObject` between two memory buffers. The event loops have a TLS of their own;
it holds more memory a connection, up to ten times as much (docs/decisions/0007), and its
layers cannot be stacked on a proxy's tunnel in the same way on every loop. `Tls` does no I/O:
who owns the socket feeds `receive` and sends what `answer` and `send` return.

A memory buffer keeps the size that it once had, for the life of the connection. So both get
their bytes in slices: what a long request or a large read leaves behind is small.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

from holdfast import errors

MAX_SILENT = 128 * 1024  # bytes in a row that bring no content: a handshake, tickets, empty records
MAX_ANSWERED = 64 * 1024  # bytes after the handshake that the other side makes us send: key updates

_RECORD = 16 * 1024  # bytes: the most that one TLS record may hold
_SLICE_IN = 16 * 1024  # bytes written to a memory buffer at once
_SLICE_OUT = 4 * 1024


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """What https connections are verified by: the system's roots, and those in `ca_file` (PEM).

    TLS 1.2 at least, the host's name or address checked, ALPN `http/1.1`. Reads the system's
    root certificates: about 40 ms of CPU. Raises SettingsError for a file that cannot be read
    or holds no certificate.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            pem = ca_file.read_text("ascii", errors="replace")
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError):
            raise errors.SettingsError(
                f"The CA file {ca_file} holds no certificate that can be read: it must be PEM, "
                "with lines -----BEGIN CERTIFICATE-----."
            ) from None
        except OSError as error:
            raise errors.SettingsError(
                f"The CA file {ca_file} cannot be read: {error.strerror}."
            ) from None
    return context


class Tls:
    """The client's side of one TLS connection. `ready` after the handshake; `ended` once the
    other side has said that nothing follows.

    `host` is the name or address that the certificate must be for. `receive` and `send` raise
    ssl.SSLError; what `answer` has then is an alert for the other side.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.ready = False
        self.ended = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=host.rstrip("."))
        self._silent = 0
        self._answered = 0

    def receive(self, data: bytes | memoryview) -> bytes:
        """The content in one read of the network; with b"" the handshake begins.

        Raises ssl.SSLError, and ProtocolViolation over `MAX_SILENT`.
        """
        if len(data) <= _SLICE_IN:
            content = self._take(data)
        else:
            slices = range(0, len(data), _SLICE_IN)
            content = b"".join([self._take(data[at : at + _SLICE_IN]) for at in slices])
        self._silent = 0 if content else self._silent + len(data)
        if self._silent > MAX_SILENT:
            raise errors.ProtocolViolation(f"TLS: over {MAX_SILENT} bytes without content.")
        return content

    def answer(self) -> bytes:
        """What must go to the other side now, outside of `send`. Raises ProtocolViolation over
        `MAX_ANSWERED`."""
        if not self._out.pending:
            return b""
        data = self._out.read()
        if self.ready:
            self._answered += len(data)
            if self._answered > MAX_ANSWERED:
                raise errors.ProtocolViolation(f"TLS asked for over {MAX_ANSWERED} bytes.")
        return data

    def send(self, data: bytes) -> bytes:
        """The bytes for the network that carry `data`."""
        slices = []
        for at in range(0, len(data), _SLICE_OUT):
            self._object.write(data[at : at + _SLICE_OUT])
            slices.append(self._out.read())
        return b"".join(slices)

    def close(self) -> bytes:
        """What tells the other side that nothing follows."""
        with contextlib.suppress(ssl.SSLError):  # it has not said so too; nobody waits for that
            self._object.unwrap()
        return self._out.read()

    def _take(self, data: bytes | memoryview) -> bytes:
        if self.ended:
            return b""
        self._in.write(data)
        parts: list[bytes] = []
        try:
            if not self.ready:
                self._object.do_handshake()
                self.ready = True
            part = self._object.read(_RECORD)
            while part:
                if not self._in.pending and not self._object.pending():
                    return b"".join([*parts, part]) if parts else part
                parts.append(part)
                part = self._object.read(_RECORD)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(parts)
