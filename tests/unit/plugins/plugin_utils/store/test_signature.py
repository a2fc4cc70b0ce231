# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures, made and checked by the real ssh-keygen."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import signature


@pytest.fixture(scope="module")
def ssh_keygen() -> None:
    """ssh-keygen makes the signatures, and machines for tests have it."""
    assert shutil.which("ssh-keygen"), "install openssh-client"


def key(folder: Path, name: str, kind: str = "ed25519") -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(path)], check=True)
    return path


@pytest.fixture
def ours(ssh_keygen: None, tmp_path: Path) -> Path:
    return key(tmp_path, "ours")


@pytest.fixture
def allowed(ours: Path, tmp_path: Path) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(f'fetcher@example.com namespaces="{signature.NAMESPACE}" {ours.with_suffix(".pub").read_text()}')
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"schema": 1}\n')
    return folder


def test_a_signed_store_is_trusted_and_names_the_signer(store: Path, ours: Path, allowed: Path) -> None:
    assert signature.sign(store, ours)
    assert not signature.sign(store, ours), "a signature that fits is not made again"
    for policy in ("strict", "if-signed"):
        trust = signature.check(store, policy, allowed)
        assert (trust.verified, trust.signer) == (True, "fetcher@example.com")


@pytest.mark.parametrize("policy", ["strict", "if-signed"])
def test_a_manifest_that_changed_since_is_refused(store: Path, ours: Path, allowed: Path, policy: str) -> None:
    signature.sign(store, ours)
    (store / "manifest.json").write_text('{"schema": 1 }\n')
    with pytest.raises(signature.SignatureError, match="outdated or was altered"):
        signature.check(store, policy, allowed)


@pytest.mark.parametrize("policy", ["strict", "if-signed"])
def test_a_foreign_signature_is_refused(store: Path, tmp_path: Path, allowed: Path, policy: str) -> None:
    signature.sign(store, key(tmp_path, "theirs"))
    with pytest.raises(signature.SignatureError, match="does not list"):
        signature.check(store, policy, allowed)


def test_a_signature_for_another_purpose_is_refused(store: Path, ours: Path, allowed: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", "file", "-f", str(ours), str(store / "manifest.json")], check=True
    )
    with pytest.raises(signature.SignatureError, match=r"does not match manifest\.json"):
        signature.check(store, "strict", allowed)


def test_a_key_for_another_purpose_is_refused(store: Path, ours: Path, allowed: Path) -> None:
    signature.sign(store, ours)
    allowed.write_text(allowed.read_text().replace(signature.NAMESPACE, "git"))
    with pytest.raises(signature.SignatureError, match="does not list"):
        signature.check(store, "strict", allowed)


def test_strict_refuses_a_store_without_signature_and_a_missing_file(
    store: Path, allowed: Path, tmp_path: Path
) -> None:
    with pytest.raises(signature.SignatureError, match="is not signed"):
        signature.check(store, "strict", allowed)
    with pytest.raises(signature.SignatureError, match="artifact_store_allowed_signers"):
        signature.check(store, "strict", None)
    with pytest.raises(signature.SignatureError, match="no allowed_signers file"):
        signature.check(store, "strict", tmp_path / "absent")


def test_a_key_for_an_unsigned_store_is_an_error(store: Path, allowed: Path) -> None:
    with pytest.raises(signature.SignatureError, match="is not signed, but"):
        signature.check(store, "if-signed", allowed)


def test_without_allowed_signers_an_unsigned_store_passes_as_unsigned(store: Path, ours: Path) -> None:
    assert signature.check(store, "if-signed", None).sentence == "not signed"
    signature.sign(store, ours)
    trust = signature.check(store, "if-signed", None)
    assert not trust.verified
    assert "not checked" in trust.sentence


def test_off_checks_nothing(store: Path, allowed: Path) -> None:
    (store / "manifest.json.sig").write_text("garbage")
    assert not signature.check(store, "off", allowed).verified
    with pytest.raises(signature.SignatureError, match="unknown signature policy"):
        signature.check(store, "relaxed", allowed)


def test_a_stale_signature_is_removed_and_a_valid_one_stays(store: Path, ours: Path) -> None:
    assert not signature.drop_stale(store)
    signature.sign(store, ours)
    assert not signature.drop_stale(store)
    (store / "manifest.json").write_text("{}")
    assert signature.drop_stale(store)
    assert not (store / "manifest.json.sig").exists()


def test_a_missing_and_an_unusable_key_are_reported(store: Path, tmp_path: Path, ssh_keygen: None) -> None:
    with pytest.raises(signature.SignatureError, match="no signing key at"):
        signature.sign(store, tmp_path / "absent")
    (tmp_path / "broken").write_text("not a key")
    with pytest.raises(signature.SignatureError, match="could not be signed"):
        signature.sign(store, tmp_path / "broken")
    assert not (store / "manifest.json.sig").exists()


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_a_key_of_another_kind_signs_where_ed25519_is_refused(
    ssh_keygen: None, store: Path, tmp_path: Path, kind: str
) -> None:
    other = key(tmp_path, kind, kind)
    signers = tmp_path / "signers"
    signers.write_text(f"fetcher@example.com {other.with_suffix('.pub').read_text()}")
    assert signature.sign(store, other)
    assert signature.check(store, "strict", signers).signer == "fetcher@example.com"
    assert not signature.sign(store, other)


@pytest.mark.parametrize("mode", ["0\n", "1\n", None])
def test_a_machine_in_fips_mode_is_told_why_it_refuses_ed25519(
    ours: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    monkeypatch.setattr(signature, "FIPS", tmp_path / "fips_enabled")
    if mode:
        (tmp_path / "fips_enabled").write_text(mode)
    (tmp_path / "broken").write_text("not a key")
    signature.sign(store, ours)
    (store / "manifest.json").write_text("{}")
    for refused in (
        lambda: signature.sign(store, tmp_path / "broken"),
        lambda: signature.check(store, "if-signed", None),
    ):
        with pytest.raises(signature.SignatureError) as error:
            refused()
        assert ("FIPS mode" in str(error.value)) == (mode == "1\n")
    with pytest.raises(signature.SignatureError, match=f"-t {'ecdsa' if mode == '1' + chr(10) else 'ed25519'} "):
        signature.sign(store, tmp_path / "absent")
