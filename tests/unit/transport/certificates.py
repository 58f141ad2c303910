"""A private CA and what it signs, for the tests of TLS.

Strategy: made anew where they are needed, in milliseconds, so that nothing in the repository
expires. Elliptic keys, because RSA keys take long to make.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


class Authority:
    """A CA whose certificate is in `file` (PEM)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
        self._made = 0
        signed = self._sign(self._name, self._key, None, DAY)
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, *hosts: str, until: datetime.timedelta = DAY) -> ssl.SSLContext:
        """The context of a server whose certificate is for `hosts`, and ends after `until`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_named(host) for host in hosts]
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        signed = self._sign(name, key, x509.SubjectAlternativeName(names), until)
        self._made += 1
        path = self.folder / f"server-{self._made}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: x509.SubjectAlternativeName | None,
        until: datetime.timedelta,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        own = x509.SubjectKeyIdentifier.from_public_key
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + until)
            .add_extension(own(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        else:
            usage = x509.KeyUsage(
                True, False, False, False, False, True, True, False, False
            )  # signs certificates and lists of revoked ones
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self._key, hashes.SHA256())


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
