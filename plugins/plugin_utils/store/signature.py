# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign and check manifest and provenance of a store, and the index of an export.

``ssh-keygen -Y`` of OpenSSH 8.1 or newer does it. Manifest and index list every file with its digest, so one signature
covers the folder. It lies beside the file. The policy ``strict`` refuses a store unless a key in ``allowed_signers``
signed it. ``if-signed`` checks a signature if there is one. ``off`` checks nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...module_utils.host.hashing import read_bounded, write_atomic
from .manifest import FILENAME, INDEX

# Separates these signatures from those of mails or commits made with the same key.
NAMESPACE = "voicefleet-store"
# What a check may take. An allowed_signers file on a dead network file system must not block the play.
SECONDS = 60
POLICIES = ("strict", "if-signed", "off")
FIPS = Path("/proc/sys/crypto/fips_enabled")


class SignatureError(Exception):
    """A signature that cannot be made or trusted, with the reason."""


@dataclass(frozen=True)
class Trust:
    """The outcome of a check: whether the signature was verified, its signer, and a sentence."""

    verified: bool
    signer: str
    sentence: str


def _ssh_keygen(*arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise SignatureError(
            "ssh-keygen is not installed on the controller: install openssh-client, or set the signature policy to off"
        )
    # A password dialog must not block an unattended play.
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}
    try:
        return subprocess.run(
            [program, *arguments], input=data, capture_output=True, check=False, env=environment, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SignatureError(f"ssh-keygen did not end within {SECONDS} s") from None


def _in_fips_mode() -> str:
    """What a machine in FIPS mode refuses, as a sentence. Empty in any other mode."""
    try:
        on = FIPS.read_text(encoding="ascii").strip() == "1"
    except OSError:
        on = False
    return " This machine is in FIPS mode, which refuses ed25519. Sign with a key of ecdsa or rsa." if on else ""


def _read(folder: Path, name: str) -> bytes:
    return read_bounded(str(folder / name))


def sign(folder: Path, key: Path, name: str = FILENAME) -> bool:
    """Sign a file of a folder with a private key, or with a public key whose private key is in an ssh-agent.

    Returns False if a valid signature by that key already exists. Raises SignatureError, OSError.
    """
    if not key.is_file():
        kind = "ecdsa" if _in_fips_mode() else "ed25519"
        raise SignatureError(f"there is no signing key at {key}: make one with `ssh-keygen -t {kind} -f {key}`")
    data, file = _read(folder, name), folder / f"{name}.sig"
    if _is_by(file, key, data):
        return False
    done = _ssh_keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), data=data)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()
        raise SignatureError(
            f"{name} could not be signed with {key}: {words}. Load a key that has a passphrase into an "
            f"ssh-agent, and name its public key here.{_in_fips_mode()}"
        )
    write_atomic(str(file), done.stdout)
    return True


def _is_by(file: Path, key: Path, data: bytes) -> bool:
    """Whether the existing signature was made by this key for these bytes."""
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    if not file.is_file() or not public.is_file():
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".allowed") as allowed:
        allowed.write(f"signer {public.read_text(encoding='utf-8')}")
        allowed.flush()
        return _verify(file, Path(allowed.name), "signer", data)


def _verify(file: Path, allowed_signers: Path, signer: str, data: bytes) -> bool:
    return _accepts(file, data, "verify", "-f", str(allowed_signers), "-I", signer)


def _accepts(file: Path, data: bytes, *operation: str) -> bool:
    """Whether ``ssh-keygen -Y OPERATION`` accepts the signature in a file for these bytes."""
    return _ssh_keygen("-Y", *operation, "-n", NAMESPACE, "-s", str(file), data=data).returncode == 0


def drop_stale(folder: Path, name: str = FILENAME) -> bool:
    """Remove a signature that no longer matches its file. Returns False if there is none."""
    file = folder / f"{name}.sig"
    if not file.exists() or _accepts(file, _read(folder, name), "check-novalidate"):
        return False
    file.unlink()
    return True


def check(
    folder: Path, policy: str, allowed_signers: Path | None, name: str = FILENAME, data: bytes | None = None
) -> Trust:
    """Check the signature of a folder's file by a policy. ``data`` are the file's bytes, if they are already read.

    Raises SignatureError if the policy refuses the folder, and OSError.
    """
    if policy not in POLICIES:
        raise SignatureError(f"unknown signature policy {policy!r}: choose one of {', '.join(POLICIES)}")
    if policy == "off":
        return Trust(False, "", "signature not checked (policy off)")
    if policy == "strict" and allowed_signers is None:
        raise SignatureError(
            "the signature policy is strict, but there is no allowed_signers file that names the trusted signers: "
            "set artifact_store_allowed_signers"
        )
    if allowed_signers is not None and not allowed_signers.is_file():
        raise SignatureError(f"there is no allowed_signers file at {allowed_signers}")
    file = folder / f"{name}.sig"
    what, make = folder if name == FILENAME else folder / name, "Export" if name == INDEX else "Fetch"
    if not file.is_file():
        if allowed_signers is not None:
            raise SignatureError(
                f"{what} is not signed, but {allowed_signers} is configured. {make} with artifact_store_signing_key, "
                "or remove artifact_store_allowed_signers if unsigned stores are intended"
            )
        return Trust(False, "", "not signed")
    data = _read(folder, name) if data is None else data
    if not _accepts(file, data, "check-novalidate"):
        raise SignatureError(
            f"the signature of {folder} does not match {name}: one of them is outdated or was altered. {make} "
            f"again and sign, or copy the whole folder again.{_in_fips_mode()}"
        )
    if allowed_signers is None:
        return Trust(False, "", "signed, but the signer was not checked (no allowed_signers file)")
    names = _ssh_keygen("-Y", "find-principals", "-s", str(file), "-f", str(allowed_signers), data=data)
    signers = names.stdout.decode(errors="replace").splitlines()
    for signer in signers:
        if _verify(file, allowed_signers, signer, data):
            return Trust(True, signer, f"signed by {signer}")
    raise SignatureError(
        f"{what} is signed by a key that {allowed_signers} does not list"
        + (f" for {NAMESPACE} (it names {', '.join(signers)})" if signers else "")
        + ". Either the store comes from someone else, or the key is missing from that file"
    )
