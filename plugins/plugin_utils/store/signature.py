# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of a store's manifest, made and checked by ``ssh-keygen -Y`` (OpenSSH 8.1 or newer).

The manifest lists every file with its digest, so one signature covers the store. Policies: ``strict`` refuses a store
that is not signed by a key in ``allowed_signers``; ``if-signed`` checks a signature where there is one; ``off`` never.
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

# Keeps a signature of ours from being taken for one of a mail or a commit, and the other way round.
NAMESPACE = "voicefleet-store"
SIGNATURE = f"{FILENAME}.sig"
POLICIES = ("strict", "if-signed", "off")


class SignatureError(Exception):
    """A store whose signature can't be made or trusted, with the reason in words."""


@dataclass(frozen=True)
class Trust:
    """The outcome of a check: whether the signature was verified, by whom it was made, and a sentence."""

    verified: bool
    signer: str
    sentence: str


def _ssh_keygen(*arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise SignatureError(
            "ssh-keygen is not installed on the controller: install openssh-client, or set the policy to off"
        )
    # No agent or askpass dialog may hold up a play that nobody watches.
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}
    return subprocess.run([program, *arguments], input=data, capture_output=True, check=False, env=environment)


def sign(store: Path, key: Path) -> bool:
    """Sign the manifest with a private key, or with a public one whose private part an ssh-agent holds.

    False where a signature by that key is there already and fits. Raises SignatureError, OSError.
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
            f"the manifest could not be signed with {key}: {words}. A key with a passphrase has to be in an ssh-agent; "
            "name its public part then"
        )
    write_atomic(str(store / SIGNATURE), done.stdout)
    return True


def _is_by(store: Path, key: Path, data: bytes) -> bool:
    """Whether the signature that is there was made by a key over this manifest."""
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    if not (store / SIGNATURE).is_file() or not public.is_file():
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".allowed") as allowed:
        allowed.write(f"signer {public.read_text(encoding='utf-8')}")
        allowed.flush()
        return _verify(store, Path(allowed.name), "signer", data)


def _verify(store: Path, allowed_signers: Path, signer: str, data: bytes) -> bool:
    arguments = (
        "-Y",
        "verify",
        "-f",
        str(allowed_signers),
        "-I",
        signer,
        "-n",
        NAMESPACE,
        "-s",
        str(store / SIGNATURE),
    )
    return _ssh_keygen(*arguments, data=data).returncode == 0


def drop_stale(store: Path) -> bool:
    """Remove a signature that does not fit the manifest, which a fetch has just changed; False where none is stale."""
    path = store / SIGNATURE
    if not path.exists():
        return False
    arguments = ("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(path))
    if _ssh_keygen(*arguments, data=(store / FILENAME).read_bytes()).returncode == 0:
        return False
    path.unlink()
    return True


def check(store: Path, policy: str, allowed_signers: Path | None) -> Trust:
    """Check a store's signature by a policy. Raises SignatureError where the policy refuses it, OSError."""
    if policy not in POLICIES:
        raise SignatureError(f"policy {policy!r} is not known: choose {', '.join(POLICIES)}")
    if policy == "off":
        return Trust(False, "", "signature not checked (policy off)")
    if policy == "strict" and allowed_signers is None:
        raise SignatureError(
            "the policy is strict, and no allowed_signers file says whose signature counts: "
            "set artifact_store_allowed_signers"
        )
    if allowed_signers is not None and not allowed_signers.is_file():
        raise SignatureError(f"there is no allowed_signers file at {allowed_signers}")
    signature = store / SIGNATURE
    if not signature.is_file():
        if allowed_signers is not None:
            raise SignatureError(
                f"{store} is not signed, and {allowed_signers} says that it should be. Fetch with "
                "artifact_store_signing_key, or take the file out of the configuration if unsigned stores are meant"
            )
        return Trust(False, "", "not signed")
    data = (store / FILENAME).read_bytes()
    fits = _ssh_keygen("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature), data=data)
    if fits.returncode != 0:
        raise SignatureError(
            f"the signature of {store} does not fit its manifest: one of them is stale or was altered. Fetch again and "
            "sign, or copy the whole store once more"
        )
    if allowed_signers is None:
        return Trust(False, "", "signed, by whom was not checked (no allowed_signers file)")
    names = _ssh_keygen("-Y", "find-principals", "-s", str(signature), "-f", str(allowed_signers), data=data)
    signers = names.stdout.decode(errors="replace").splitlines()
    for signer in signers:
        if _verify(store, allowed_signers, signer, data):
            return Trust(True, signer, f"signed by {signer}")
    raise SignatureError(
        f"{store} is signed by a key that {allowed_signers} does not list"
        + (f" for {NAMESPACE} (it names {', '.join(signers)})" if signers else "")
        + ". Either the store is not from whom you think, or the key has to be added to that file"
    )
