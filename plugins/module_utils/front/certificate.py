# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS certificate, handled by the command openssl. It is the operator's, or the host makes it with its own authority.

A renewed certificate comes from the same authority, so clients need no new one.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..host import private_files, systemd_unit

CA_DAYS = 3650
# In the order of the fields of Made.
FILES = ("server.pem", "server.key", "ca.pem", "ca.key")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


class CertificateError(Exception):
    """A certificate cannot be used or made. The text is a sentence for the operator and contains no key."""


@dataclass(frozen=True)
class Made:
    """PEM texts. The authority's are empty if the operator gave the certificate."""

    certificate: str
    key: str
    ca: str = ""
    ca_key: str = ""


def _openssl(*arguments: str, folder: str | None = None) -> tuple[int, str]:
    command = ["openssl", *arguments]
    if folder is not None:
        command = ["env", "-C", folder, *command]
    return systemd_unit.run(command, 60)


def _must(*arguments: str, folder: str) -> str:
    status, output = _openssl(*arguments, folder=folder)
    if status != 0:
        raise CertificateError(f"openssl {arguments[0]} failed ({status}): {output}")
    return output


def alternative_name(name: str) -> str:
    """A name as subjectAltName writes it. Raises CertificateError unless it is a host name or an address."""
    try:
        # Python takes any text after a percent sign in an IPv6 address.
        return f"IP:{ipaddress.ip_address(name.replace('%', '!'))}"
    except ValueError:
        if not _NAME.match(name):
            raise CertificateError(f"{name!r} cannot be in a certificate: it is no host name and no address.") from None
        return f"DNS:{name}"


def _printed(names: Sequence[str]) -> set[str]:
    """Names as openssl prints them, for comparison."""
    return {
        f"IP Address:{ipaddress.ip_address(name[3:]).exploded if ':' in name[3:] else name[3:]}"
        if name.startswith("IP:")
        else name
        for name in map(alternative_name, names)
    }


def _read_names(text: str) -> set[str]:
    """Read the names of a certificate from the output of ``openssl x509 -ext subjectAltName``."""
    found = set()
    for name in re.findall(r"(DNS:[^,\s]+|IP Address:[^,\s]+)", text):
        if name.startswith("IP Address:") and name.count(":") > 1:
            name = "IP Address:" + ipaddress.ip_address(name[11:]).exploded
        found.add(name)
    return found


def why_renew(folder: str, names: Sequence[str], renew_days: int) -> str | None:
    """Why the certificate in a folder must be renewed, or None."""
    pem, ca = os.path.join(folder, "server.pem"), os.path.join(folder, "ca.pem")
    if not all(os.path.exists(os.path.join(folder, name)) for name in FILES):
        return "there is none"
    status, output = _openssl("x509", "-in", pem, "-noout", "-checkend", str(renew_days * 86400))
    if status != 0:
        return f"it expires within {renew_days} days" if "will expire" in output else "it cannot be read"
    if _openssl("verify", "-CAfile", ca, pem)[0] != 0:
        return "its authority has changed"
    if _read_names(_openssl("x509", "-in", pem, "-noout", "-ext", "subjectAltName")[1]) != _printed(names):
        return "its names have changed"
    if not _belong_together(private_files.read_text(pem) or "", private_files.read_text(folder + "/server.key") or ""):
        return "its key has changed"
    return None


def make(folder: str, host: str, names: Sequence[str], days: int) -> Made:
    """Make a certificate. Use the authority in the folder, or a new one if that is missing or expires earlier."""
    alternatives = ",".join(alternative_name(name) for name in names)
    with tempfile.TemporaryDirectory() as work:  # mode 0700
        ca = private_files.read_text(os.path.join(folder, "ca.pem"))
        ca_key = private_files.read_text(os.path.join(folder, "ca.key"))
        if ca and ca_key and _belong_together(ca, ca_key) and lasts(ca, days):
            _put(work, "ca.pem", ca)
            _put(work, "ca.key", ca_key)
        else:
            _must(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
                "-days", str(CA_DAYS), "-subj", f"/CN=voicefleet authority of {host[:40]}",
                "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.pem", folder=work,
            )  # fmt: skip
        _put(
            work,
            "extensions",
            f"subjectAltName={alternatives}\nbasicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
        )
        _must(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
            "-subj", f"/CN={host[:60]}", "-keyout", "server.key", "-out", "request", folder=work,
        )  # fmt: skip
        _must(
            "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial",
            f"0x{os.urandom(16).hex()}", "-sha256", "-days", str(days), "-extfile", "extensions", "-out", "server.pem",
            folder=work,
        )  # fmt: skip
        return Made(*(Path(work, name).read_text(encoding="ascii") for name in FILES))


def given(certificate: str, key: str) -> Made:
    """Check the operator's certificate and key: they match and have not expired. Raises CertificateError."""
    if "-----BEGIN CERTIFICATE-----" not in certificate:
        raise CertificateError("gateway_certificate is not a certificate in PEM form.")
    if "PRIVATE KEY-----" not in key or "ENCRYPTED" in key:
        raise CertificateError("gateway_certificate_key is not a private key in PEM form, or has a passphrase.")
    if not _belong_together(certificate, key):
        raise CertificateError("gateway_certificate and gateway_certificate_key do not belong together.")
    if not lasts(certificate, 0):
        raise CertificateError("gateway_certificate has expired or cannot be read. Give a valid one.")
    return Made(certificate.strip() + "\n", key.strip() + "\n")


def lasts(certificate: str, days: int) -> bool:
    """Whether a PEM certificate is still valid in so many days."""
    with tempfile.TemporaryDirectory() as work:
        _put(work, "c.pem", certificate)
        return _openssl("x509", "-in", "c.pem", "-noout", "-checkend", str(days * 86400), folder=work)[0] == 0


def _belong_together(certificate: str, key: str) -> bool:
    with tempfile.TemporaryDirectory() as work:
        _put(work, "c.pem", certificate)
        _put(work, "k.pem", key)
        status, of_certificate = _openssl("x509", "-in", "c.pem", "-noout", "-pubkey", folder=work)
        other, of_key = _openssl("pkey", "-in", "k.pem", "-pubout", "-passin", "pass:", folder=work)
        return status == other == 0 and of_certificate == of_key


def _put(folder: str, name: str, text: str) -> None:
    private_files.write_text(os.path.join(folder, name), text, 0o600, os.geteuid(), os.getegid())
