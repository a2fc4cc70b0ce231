# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy refuses with one clear message and an exit status other than 0, and does not touch the host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Host, Play, replace


def refused(play: Play, host: Host, *words: str) -> None:
    """Check that the play failed, printed these words and no traceback, and left nothing on the host."""
    assert play.status != 0, play.output
    for expected in words:
        assert expected in play.words, f"{expected!r} is not in:\n{play.output}"
    assert "Traceback" not in play.output
    assert "compatibility.json (Caused by" not in play.output
    assert not host.was_touched()


def edit_manifest(store: Path, keep: Callable[[dict[str, object]], bool]) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["artifacts"] = [row for row in manifest["artifacts"] if keep(row)]
    replace(store / "manifest.json", json.dumps(manifest).encode())
    # It is about the manifest that the fetch wrote.
    (store / "provenance.json").unlink(missing_ok=True)


def test_a_wheel_with_one_flipped_byte_is_refused(host: Host, store_copy: Callable[[], Path]) -> None:
    store = store_copy()
    wheel = next((store / "wheels").glob("misaki-*.whl"))
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    replace(wheel, bytes(data))
    refused(host.deploy(store), host, f"corrupt: wheels/{wheel.name}", "no host was touched", "fetch.yml")


def test_a_truncated_and_an_unlisted_file_are_refused(host: Host, store_copy: Callable[[], Path]) -> None:
    store = store_copy()
    weights = store / "kokoro/Kokoro-82M/kokoro-v1_0.pth"
    replace(weights, weights.read_bytes()[:1000])
    (store / "wheels" / "surprise-1-py3-none-any.whl").write_bytes(b"?")
    play = host.deploy(store)
    refused(play, host, "truncated: kokoro/Kokoro-82M/kokoro-v1_0.pth", "unlisted: wheels/surprise-1-py3-none-any.whl")


@pytest.mark.parametrize("listed", [True, False], ids=["listed but gone", "never fetched"])
def test_a_missing_spacy_tarball_is_refused(host: Host, store_copy: Callable[[], Path], listed: bool) -> None:
    store = store_copy()
    (tarball,) = (store / "spacy").glob("en_core_web_sm-*.tar.gz")
    tarball.unlink()
    if not listed:
        edit_manifest(store, lambda row: row["kind"] != "spacy-model")
    # The message names the file, why Kokoro needs it, and how to get it.
    refused(host.deploy(store), host, f"spacy/{tarball.name}", "misaki", "fetch.yml")


def test_a_voice_outside_the_store_is_refused(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", '{"kokoro_voices": ["af_sarah"]}')
    refused(play, host, "VOICE_MISSING", "voices/af_sarah.pt", "af_heart")


def test_an_unknown_voice_is_refused(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", '{"kokoro_voices": ["af_hart"]}')
    refused(play, host, "voice 'af_hart' does not exist", "did you mean af_heart")


def test_a_host_with_only_a_newer_python_is_refused(host_with_new_python: Host, store_copy: Callable[[], Path]) -> None:
    play = host_with_new_python.deploy(store_copy())
    refused(play, host_with_new_python, "PYTHON", "3.13", "nothing newer", "python3.11")


def test_stand_ins_are_refused_unless_accepted(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", "preflight_accept_unpublished=false")
    refused(play, host, "UNPUBLISHED", "this audio is not Kokoro's voice")


def test_a_missing_store_is_refused(host: Host, tmp_path: Path) -> None:
    refused(host.deploy(tmp_path / "absent"), host, "there is no store at", "fetch.yml")


def test_a_variable_of_the_wrong_type_is_refused(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", "voicefleet_minimum_memory_mb=plenty")
    refused(play, host, "voicefleet_minimum_memory_mb")


def test_a_misspelt_variable_is_refused(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", "kokoro_voice=af_heart")
    refused(play, host, "variable kokoro_voice does not exist", "did you mean kokoro_voices")


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Make two keys, and a file that trusts only the first."""
    for name in ("ours", "theirs"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "allowed_signers").write_text(f"fetcher@example.com {(tmp_path / 'ours.pub').read_text()}")
    return {name: tmp_path / name for name in ("ours", "theirs", "allowed_signers")}


def sign(store: Path, key: Path) -> None:
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", "voicefleet-store", "-f", str(key)]
    done = subprocess.run(command, input=(store / "manifest.json").read_bytes(), capture_output=True, check=True)
    (store / "manifest.json.sig").write_bytes(done.stdout)


@pytest.mark.parametrize(
    ("signature", "words"),
    [("missing", "is not signed"), ("foreign", "does not list"), ("stale", "outdated or was altered")],
)
def test_a_strict_policy_refuses_a_bad_signature(
    host: Host, store_copy: Callable[[], Path], keys: dict[str, Path], signature: str, words: str
) -> None:
    store = store_copy()
    if signature != "missing":
        sign(store, keys["theirs" if signature == "foreign" else "ours"])
    if signature == "stale":
        edit_manifest(store, lambda row: row["name"] != "af_heart")
    play = host.deploy(
        store, "-e", "artifact_store_signature_policy=strict",
        "-e", f"artifact_store_allowed_signers={keys['allowed_signers']}",
    )  # fmt: skip
    refused(play, host, "No host was touched", words)
