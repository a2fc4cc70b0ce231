# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign and check a store's manifest with ``ssh-keygen -Y`` (OpenSSH 8.1 or newer).

The manifest lists every file with its digest, so one signature covers the store. The policy ``strict`` refuses a store
unless a key in ``allowed_signers`` signed it. ``if-signed`` checks a signature if there is one. ``off`` checks nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...module_utils.host.hashing import write_atomic
from .manifest import FILENAME

# Separates these signatures from those of mails or commits made with the same key.
NAMESPACE = "voicefleet-store"
SIGNATURE = f"{FILENAME}.sig"
POLICIES = ("strict", "if-signed", "off")


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
    return subprocess.run([program, *arguments], input=data, capture_output=True, check=False, env=environment)


def sign(store: Path, key: Path) -> bool:
    """Sign the manifest with a private key, or with a public key whose private key is in an ssh-agent.

    Returns False if a valid signature by that key already exists. Raises SignatureError, OSError.
    """
    if not key.is_file():
        raise SignatureError(f"there is no signing key at {key}: make one with `ssh-keygen -t ed25519 -f {key}`")
    data = (store / FILENAME).read_bytes()
    if _is_by(store, key, data):
        return False
    done = _ssh_keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), data=data)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()
        raise SignatureError(
            f"the manifest could not be signed with {key}: {words}. Load a key that has a passphrase into an "
            "ssh-agent, and name its public key here"
        )
    write_atomic(str(store / SIGNATURE), done.stdout)
    return True


def _is_by(store: Path, key: Path, data: bytes) -> bool:
    """Whether the existing signature was made by this key for this manifest."""
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    if not (store / SIGNATURE).is_file() or not public.is_file():
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".allowed") as allowed:
        allowed.write(f"signer {public.read_text(encoding='utf-8')}")
        allowed.flush()
        return _verify(store, Path(allowed.name), "signer", data)


def _verify(store: Path, allowed_signers: Path, signer: str, data: bytes) -> bool:
    return _accepts(store, data, "verify", "-f", str(allowed_signers), "-I", signer)


def _accepts(store: Path, data: bytes, *operation: str) -> bool:
    """Whether ``ssh-keygen -Y OPERATION`` accepts the store's signature for these bytes."""
    return _ssh_keygen("-Y", *operation, "-n", NAMESPACE, "-s", str(store / SIGNATURE), data=data).returncode == 0


def drop_stale(store: Path) -> bool:
    """Remove a signature that no longer matches the manifest after a fetch. Returns False if there is none."""
    path = store / SIGNATURE
    if not path.exists():
        return False
    if _accepts(store, (store / FILENAME).read_bytes(), "check-novalidate"):
        return False
    path.unlink()
    return True


def check(store: Path, policy: str, allowed_signers: Path | None) -> Trust:
    """Check a store's signature by a policy. Raises SignatureError if the policy refuses the store, and OSError."""
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
    signature = store / SIGNATURE
    if not signature.is_file():
        if allowed_signers is not None:
            raise SignatureError(
                f"{store} is not signed, but {allowed_signers} is configured. Fetch with artifact_store_signing_key, "
                "or remove artifact_store_allowed_signers if unsigned stores are intended"
            )
        return Trust(False, "", "not signed")
    data = (store / FILENAME).read_bytes()
    if not _accepts(store, data, "check-novalidate"):
        raise SignatureError(
            f"the signature of {store} does not match its manifest: one of them is outdated or was altered. Fetch "
            "again and sign, or copy the whole store again"
        )
    if allowed_signers is None:
        return Trust(False, "", "signed, but the signer was not checked (no allowed_signers file)")
    names = _ssh_keygen("-Y", "find-principals", "-s", str(signature), "-f", str(allowed_signers), data=data)
    signers = names.stdout.decode(errors="replace").splitlines()
    for signer in signers:
        if _verify(store, allowed_signers, signer, data):
            return Trust(True, signer, f"signed by {signer}")
    raise SignatureError(
        f"{store} is signed by a key that {allowed_signers} does not list"
        + (f" for {NAMESPACE} (it names {', '.join(signers)})" if signers else "")
        + ". Either the store comes from someone else, or the key is missing in that file"
    )
