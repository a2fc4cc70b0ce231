# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy, a TLS server and a CA for tests, on loopback."""

from __future__ import annotations

import base64
import contextlib
import datetime
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey
NOW = datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM."""

    pem: str
    key_pem: str
    certificate: x509.Certificate
    key: Key

    def save(self, path: Path) -> Path:
        path.write_text(self.pem + self.key_pem)
        return path


def issue(
    name: str, issuer: Certificate | None = None, ca: bool = False, days: tuple[int, int] = (-1, 30)
) -> Certificate:
    """A certificate for a name, signed by an issuer or by itself, valid between two days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.certificate.subject if issuer else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    signed = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM).decode()
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return Certificate(pem, key_pem, signed, key)


def _listen(serve: Callable[[socket.socket], None]) -> int:
    """Serve each connection in a thread of its own until the test's process ends. Returns the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def guarded(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            with contextlib.suppress(OSError, ValueError):
                serve(connection)

    def accept() -> None:
        while True:
            connection, _peer = listener.accept()
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def _head(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(4096)
        if not block:
            break
        data += block
        if data[0] == 0x16:  # TLS, where none is spoken
            break
    return data.decode("latin-1")


def page(body: str = "<html>ok</html>", status: str = "200 OK", date: float | None = None, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nDate: {formatdate(date, usegmt=True)}\r\nContent-Type: text/html\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


def web(answer: bytes, certificate: Path | None = None) -> int:
    """A server that gives one answer to everyone, over TLS with a certificate. Returns its port."""

    def serve(connection: socket.socket) -> None:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            connection = context.wrap_socket(connection, server_side=True)
        _head(connection)
        connection.sendall(answer)
        connection.close()

    return _listen(serve)


@dataclass
class Proxy:
    """A proxy that sends every CONNECT to one port, whatever its name, or gives a fixed answer.

    ``login`` is ``user:password`` if it requires one. ``requests`` are the first lines that it got.
    """

    target: int = 0
    login: str = ""
    answer: bytes = b""
    scheme: str = 'Basic realm="lab"'
    requests: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.port = _listen(self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        head = _head(connection)
        if not head:
            return
        self.requests.append(head.split("\r\n")[0])
        token = base64.b64encode(self.login.encode()).decode()
        if self.login and f"Proxy-Authorization: Basic {token}".lower() not in head.lower():
            extra = f"Proxy-Authenticate: {self.scheme}\r\n"
            connection.sendall(page(status="407 Proxy Authentication Required", extra=extra))
            return
        if self.answer:
            connection.sendall(self.answer)
            return
        with socket.create_connection(("127.0.0.1", self.target), 10) as other:
            if head.startswith("CONNECT"):
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                other.sendall(head.encode("latin-1"))
            both = [connection, other]
            while True:
                for ready in select.select(both, [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (other if ready is connection else connection).sendall(data)
