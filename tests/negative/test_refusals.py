# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy refuses: one clear message, an exit status that is not 0, and a host that was not touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Host, Play, replace


def refused(play: Play, host: Host, *words: str) -> None:
    """The play failed, said what was expected, showed no traceback, and left nothing on the host."""
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


def test_a_wheel_with_one_flipped_byte(host: Host, store_copy: Callable[[], Path]) -> None:
    store = store_copy()
    wheel = next((store / "wheels").glob("misaki-*.whl"))
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    replace(wheel, bytes(data))
    refused(host.deploy(store), host, f"corrupt: wheels/{wheel.name}", "no host was touched", "fetch.yml")


def test_a_file_that_is_cut_short_and_one_that_nobody_listed(host: Host, store_copy: Callable[[], Path]) -> None:
    store = store_copy()
    weights = store / "kokoro/Kokoro-82M/kokoro-v1_0.pth"
    replace(weights, weights.read_bytes()[:1000])
    (store / "wheels" / "surprise-1-py3-none-any.whl").write_bytes(b"?")
    play = host.deploy(store)
    refused(play, host, "truncated: kokoro/Kokoro-82M/kokoro-v1_0.pth", "unlisted: wheels/surprise-1-py3-none-any.whl")


@pytest.mark.parametrize("listed", [True, False], ids=["listed but gone", "never fetched"])
def test_the_missing_spacy_tarball(host: Host, store_copy: Callable[[], Path], listed: bool) -> None:
    store = store_copy()
    (tarball,) = (store / "spacy").glob("en_core_web_sm-*.tar.gz")
    tarball.unlink()
    if not listed:
        edit_manifest(store, lambda row: row["kind"] != "spacy-model")
    # Which file, why Kokoro needs it, how to get it.
    refused(host.deploy(store), host, f"spacy/{tarball.name}", "misaki", "fetch.yml")


def test_a_voice_that_the_store_does_not_hold(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", '{"kokoro_voices": ["af_sarah"]}')
    refused(play, host, "VOICE_MISSING", "voices/af_sarah.pt", "af_heart")


def test_a_voice_that_does_not_exist(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", '{"kokoro_voices": ["af_hart"]}')
    refused(play, host, "voice 'af_hart' does not exist", "did you mean af_heart")


def test_a_host_whose_only_python_is_too_new(host_with_new_python: Host, store_copy: Callable[[], Path]) -> None:
    play = host_with_new_python.deploy(store_copy())
    refused(play, host_with_new_python, "PYTHON", "3.13", "nothing newer", "python3.11")


def test_stand_ins_where_real_models_are_expected(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", "preflight_accept_synthetic=false")
    refused(play, host, "SYNTHETIC", "would not be Kokoro's voice")


def test_no_store_at_all(host: Host, tmp_path: Path) -> None:
    refused(host.deploy(tmp_path / "absent"), host, "there is no store at", "fetch.yml")


def test_an_ill_typed_variable(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", "voicefleet_minimum_memory_mb=plenty")
    refused(play, host, "voicefleet_minimum_memory_mb")


def test_a_misspelt_variable(host: Host, store_copy: Callable[[], Path]) -> None:
    play = host.deploy(store_copy(), "-e", "kokoro_voice=af_heart")
    refused(play, host, "variable kokoro_voice does not exist", "did you mean kokoro_voices")


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Two keys, and a file that trusts the first of them alone."""
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
def test_a_strict_policy_refuses_a_signature_that_is(
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
