# SPDX-License-Identifier: GPL-3.0-or-later
"""The imported store equals the fetched one, is signed and fully reported, and planning changes no host."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from testinfra.host import Host

WORK = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "work"
MEGABYTE = 1_000_000


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_carried_store_is_the_fetched_one_byte_for_byte() -> None:
    fetched, carried = WORK / "fetched", WORK / "carried"
    assert files(fetched) == files(carried)
    same, differing, unreadable = filecmp.cmpfiles(fetched, carried, sorted(files(fetched)), shallow=False)
    assert (differing, unreadable) == ([], [])
    assert len(same) > 140


def test_the_volumes_are_plain_archives_within_their_size() -> None:
    volumes = sorted((WORK / "media").glob("volume-*.tar"))
    assert len(volumes) >= 5
    assert all(volume.stat().st_size <= 200 * MEGABYTE * 1.05 for volume in volumes)
    subprocess.run(["tar", "-tf", str(volumes[0])], check=True, capture_output=True)


@pytest.mark.parametrize("name", ["manifest.json", "provenance.json"])
def test_any_ssh_keygen_can_check_the_signature(name: str) -> None:
    signed = WORK / "carried" / name
    command = ["ssh-keygen", "-Y", "verify", "-f", str(WORK / "allowed_signers"), "-I", "fetcher@example.com"]
    command += ["-n", "voicefleet-store", "-s", f"{signed}.sig"]
    subprocess.run(command, input=signed.read_bytes(), check=True)


def test_the_provenance_is_about_the_manifest() -> None:
    statement = json.loads((WORK / "carried" / "provenance.json").read_text())
    digest = hashlib.sha256((WORK / "carried" / "manifest.json").read_bytes()).hexdigest()
    assert statement["subject"] == [{"name": "manifest.json", "digest": {"sha256": digest}}]


def test_manifest_and_bill_of_materials_name_the_same_files() -> None:
    manifest = json.loads((WORK / "carried" / "manifest.json").read_text())
    bill = json.loads((WORK / "carried" / "sbom.cdx.json").read_text())
    digests = {row["path"]: row["sha256"] for row in manifest["artifacts"] if row["kind"] != "sbom"}
    assert {c["bom-ref"]: c["hashes"][0]["content"] for c in bill["components"]} == digests
    assert all(component["purl"].startswith("pkg:") for component in bill["components"])


@pytest.mark.parametrize("name", ["torch", "xinference", "kokoro", "misaki", "spacy", "uv"])
def test_every_wheel_names_its_source_and_its_profiles(name: str) -> None:
    rows = json.loads((WORK / "carried" / "manifest.json").read_text())["artifacts"]
    (row,) = [row for row in rows if row["kind"] == "wheel" and row["name"] == name]
    assert row["address"].startswith("https://")
    assert row["profiles"] == ["cpu-py311-x86_64"]
    assert row["tags"]
    assert row["licence"] or name == "uv"


def test_the_report_lists_what_must_be_carried() -> None:
    rows = json.loads((WORK / "contents" / "contents.json").read_text())
    text = (WORK / "contents" / "contents.md").read_text()
    assert rows
    for name in ("en_core_web_sm", "torch", "kokoro-weights", "af_heart"):
        assert name in text


def test_planning_changed_no_host(host: Host) -> None:
    for path in ("/opt/voicefleet", "/etc/voicefleet", "/var/lib/voicefleet"):
        assert not host.file(path).exists
