# SPDX-License-Identifier: GPL-3.0-or-later
"""With the real openssl: certificates are made, checked and refused."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is a host's program")
NAMES = ["speech.example", "localhost", "127.0.0.1", "::1"]


def put(folder: Path, made: certificate.Made) -> None:
    for name, text in {
        "server.pem": made.certificate, "server.key": made.key, "ca.pem": made.ca, "ca.key": made.ca_key,
    }.items():  # fmt: skip
        (folder / name).write_text(text)


def handshake(folder: Path, name: str) -> None:
    """Connect a client that only trusts the authority to a server with the certificate. Raises ssl.SSLError."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ssl.create_default_context(cafile=str(folder / "ca.pem")).wrap_socket(here, server_hostname=name).close()
    finally:
        here.close()
        thread.join()


def test_a_client_that_trusts_the_authority_accepts_each_name(tmp_path: Path) -> None:
    put(tmp_path, certificate.make(str(tmp_path), "host", NAMES, 825))
    for name in NAMES:
        handshake(tmp_path, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "other.example")


def test_a_valid_certificate_is_kept_and_others_are_renewed(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert certificate.why_renew(folder, NAMES, 90) == "there is none"
    first = certificate.make(folder, "host", NAMES, 825)
    put(tmp_path, first)
    assert certificate.why_renew(folder, NAMES, 90) is None
    assert certificate.why_renew(folder, list(reversed(NAMES)), 90) is None
    assert certificate.why_renew(folder, NAMES, 826) == "it expires within 826 days"
    assert certificate.why_renew(folder, NAMES[:2], 90) == "its names have changed"

    second = certificate.make(folder, "host", NAMES, 825)
    assert second.ca == first.ca
    assert second.certificate != first.certificate
    (tmp_path / "server.key").write_text(second.key)
    assert certificate.why_renew(folder, NAMES, 90) == "its key has changed"
    put(tmp_path, second)
    assert certificate.why_renew(folder, NAMES, 90) is None
    handshake(tmp_path, "speech.example")


def test_an_authority_that_expires_earlier_is_replaced(tmp_path: Path) -> None:
    first = certificate.make(str(tmp_path), "host", NAMES, 825)
    put(tmp_path, first)
    second = certificate.make(str(tmp_path), "host", NAMES, certificate.CA_DAYS + 1)
    assert second.ca != first.ca
    (tmp_path / "server.pem").write_text(second.certificate)
    assert certificate.why_renew(str(tmp_path), NAMES, 90) == "its authority has changed"
    (tmp_path / "server.pem").write_text("nothing")
    assert certificate.why_renew(str(tmp_path), NAMES, 90) == "it cannot be read"


def test_the_operators_certificate_must_be_valid_and_match_its_key(tmp_path: Path) -> None:
    one, two = (certificate.make(str(tmp_path), "host", NAMES, 825) for _each in range(2))
    assert certificate.given(one.certificate, one.key).ca == ""
    for text, key, words in (
        (one.certificate, two.key, "do not belong together"),
        ("nothing", one.key, "not a certificate in PEM form"),
        (one.certificate, "nothing", "not a private key in PEM form"),
    ):
        with pytest.raises(certificate.CertificateError, match=words) as error:
            certificate.given(text, key)
        assert "BEGIN" not in str(error.value)


@pytest.mark.parametrize("name", ["a name", "x,DNS:evil.example", "-x", "", "a\nb", "fe80::1%a,DNS:evil.example"])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(certificate.CertificateError, match="cannot be in a certificate"):
        certificate.alternative_name(name)


def test_others_cannot_read_the_files_while_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = certificate._must

    def must(*arguments: str, folder: str) -> str:
        seen.append(stat.S_IMODE(Path(folder).stat().st_mode))
        return real(*arguments, folder=folder)

    monkeypatch.setattr(certificate, "_must", must)
    certificate.make(str(tmp_path), "host", NAMES, 825)
    assert set(seen) == {0o700}
