"""TLS without a socket: two ends in memory, in any cuts; and the context.

Strategy: the other end is the standard library's own, between two memory buffers. What one
end gives goes to the other whole, byte by byte, and in random cuts.
"""

from __future__ import annotations

import random
import ssl
from pathlib import Path

import pytest
from tests.unit.transport.certificates import Authority

from holdfast import errors, transport
from holdfast.transport import tls


class Far:
    """The server's end."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.ready = False
        self.received = b""

    def take(self, data: bytes) -> bytes:
        """Returns what it answers."""
        self.incoming.write(data)
        try:
            if not self.ready:
                self.tls.do_handshake()
                self.ready = True
            while part := self.tls.read(65536):
                self.received += part
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def give(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


def cut(data: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [data] if data else []
    if how == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    draw, parts = random.Random(7), []
    while data:
        size = draw.choice([1, 3, 5, 100, 5000, 40000])
        parts.append(data[:size])
        data = data[size:]
    return parts


def joined(authority: Authority, how: str = "whole") -> tuple[tls.Tls, Far]:
    """Both ends after the handshake."""
    near = tls.Tls(transport.tls_context(authority.file), "h.test")
    far = Far(authority.server("h.test"))
    assert near.receive(b"") == b""
    while to_far := near.answer():
        for slice_ in cut(far.take(to_far), how):
            assert near.receive(slice_) == b""
    assert near.ready
    assert far.ready
    return near, far


@pytest.mark.parametrize("how", ["whole", "bytes", "random"])
def test_both_ways_in_any_cuts(authority: Authority, how: str) -> None:
    near, far = joined(authority, how)
    request = random.Random(1).randbytes(50_000)
    assert far.take(near.send(request)) == b""
    assert far.received == request
    response = random.Random(2).randbytes(3_000 if how == "bytes" else 100_000)
    data = far.give(response) + far.give(b"the end")
    assert b"".join(near.receive(part) for part in cut(data, how)) == response + b"the end"
    assert not near.ended
    assert near.answer() == b""


def test_the_end_is_told(authority: Authority) -> None:
    near, far = joined(authority)
    data = far.give(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        far.tls.unwrap()
    assert near.receive(data + far.outgoing.read()) == b"last"
    assert near.ended
    assert near.receive(b"anything") == b""


def test_our_end_is_told(authority: Authority) -> None:
    near, far = joined(authority)
    far.incoming.write(near.close())
    assert far.tls.read(100) == b""
    far.tls.unwrap()
    assert near.receive(far.outgoing.read()) == b""
    assert near.ended


def test_http_1_is_agreed_on(authority: Authority) -> None:
    server = authority.server("h.test")
    server.set_alpn_protocols(["h2", "http/1.1"])
    near, far = tls.Tls(transport.tls_context(authority.file), "h.test."), Far(server)
    names: list[str | None] = []
    server.sni_callback = lambda sock, name, context: names.append(name)
    near.receive(b"")
    near.receive(far.take(near.answer()))
    assert names == ["h.test"]
    assert far.tls.selected_alpn_protocol() == "http/1.1"


def test_tls_1_1_is_not_spoken(authority: Authority) -> None:
    context = transport.tls_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_changed_byte_is_found(authority: Authority) -> None:
    near, far = joined(authority)
    data = bytearray(far.give(b"content"))
    data[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        near.receive(bytes(data))
    assert near.answer()  # the alert


def test_what_brings_no_content_has_a_limit(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = tls.Tls(transport.tls_context(authority.file), "h.test")
    far = Far(authority.server("h.test"))
    near.receive(b"")
    flight = far.take(near.answer())
    monkeypatch.setattr(tls, "MAX_SILENT", 300)
    near.receive(flight[:300])
    with pytest.raises(errors.ProtocolViolation, match="over 300 bytes without content"):
        near.receive(flight[300:])


def test_content_ends_the_silence(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = joined(authority)
    monkeypatch.setattr(tls, "MAX_SILENT", 3000)
    data = far.give(b"x" * 100)
    for _ in range(100):
        assert near.receive(data[:60]) == b""
        assert near.receive(data[60:]) == b"x" * 100
        data = far.give(b"x" * 100)


def test_what_the_other_side_makes_us_send_has_a_limit(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = joined(authority)
    monkeypatch.setattr(tls, "MAX_ANSWERED", 10)
    data = far.give(b"content")
    with pytest.raises(ssl.SSLError):
        near.receive(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(errors.ProtocolViolation, match="asked for over 10 bytes"):
        near.answer()  # an alert is longer


def test_a_long_request_leaves_little_behind(authority: Authority) -> None:
    near, _ = joined(authority)
    sent = near.send(b"x" * 1_000_000)
    assert 1_000_000 < len(sent) < 1_010_000
    assert near.answer() == b""


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nxx\n"])
def test_a_file_without_a_certificate_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(content)
    with pytest.raises(errors.SettingsError, match=r"ca\.pem holds no certificate"):
        transport.tls_context(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none.pem", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(errors.SettingsError, match=text):
            transport.tls_context(path)


def test_the_private_ca_is_added_to_the_roots(authority: Authority) -> None:
    roots = transport.tls_context().cert_store_stats()["x509_ca"]
    assert transport.tls_context(authority.file).cert_store_stats()["x509_ca"] == roots + 1
