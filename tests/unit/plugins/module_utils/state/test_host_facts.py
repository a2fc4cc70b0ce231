# SPDX-License-Identifier: GPL-3.0-or-later
"""Host facts, read from texts of real hosts and from this host."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import disk, ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import host_facts

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
ROCKY = (
    'NAME="Rocky Linux"\nVERSION_ID="9.4"\nID="rocky"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky Linux 9.4"\n'
)
TCP = """  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:270D 00000000:0000 0A 00000000:00000000
   1: 0100007F:1F90 0100007F:A000 01 00000000:00000000
"""


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (DEBIAN, {"id": "debian", "version_id": "12", "pretty_name": "Debian GNU/Linux 12 (bookworm)", "id_like": ""}),
        (
            ROCKY,
            {"id": "rocky", "version_id": "9.4", "pretty_name": "Rocky Linux 9.4", "id_like": "rhel centos fedora"},
        ),
        ("", {"id": "", "version_id": "", "pretty_name": "", "id_like": ""}),
    ],
)
def test_os_release(text: str, fields: dict[str, str]) -> None:
    assert host_facts.os_release(text) == fields


def test_only_listening_sockets_are_listed() -> None:
    assert host_facts.listeners([TCP, ""]) == [9997]


def test_the_hosts_own_addresses_are_read() -> None:
    trie = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.213.7.0/24 2 0 2
        |-- 10.213.7.0
           /24 link UNICAST
        |-- 10.213.7.2
           /32 host LOCAL
        |-- 10.213.7.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
Local:
        |-- 10.213.7.2
           /32 host LOCAL
"""
    assert host_facts.addresses(trie) == ["10.213.7.2", "127.0.0.1"]


def test_memory_is_in_bytes() -> None:
    assert host_facts.memory("MemTotal:  16 kB\nMemFree: 1 kB\nMemAvailable: 8 kB\n") == {
        "total": 16384,
        "available": 8192,
    }


def test_interpreters_are_asked_for_their_version_and_listed_once(tmp_path: Path) -> None:
    for name, body in (
        ("python3.11", "echo 3.11.2"),
        ("python3.13", "echo 3.13.1"),
        ("python3.9", "exit 1"),
        ("python3-config", "echo 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3").symlink_to("python3.11")
    found = host_facts.pythons([str(tmp_path), "/absent"])
    assert found == [
        {"path": f"{tmp_path}/python3.11", "version": "3.11.2"},
        {"path": f"{tmp_path}/python3.13", "version": "3.13.1"},
    ]


def test_the_version_of_systemd_is_read_from_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_facts.shutil, "which", lambda _name: "/usr/bin/systemctl")
    monkeypatch.setattr(host_facts.os.path, "isdir", lambda _path: True)

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        active = "is-active" in command
        return subprocess.CompletedProcess(command, 0 if active else 0, "systemd 252 (252.39-1~deb12u2)\n+PAM", "")

    assert host_facts.systemd(run) == {"running": True, "version": 252, "service_active": True}


def test_releases_without_a_seal_are_incomplete(tmp_path: Path) -> None:
    for name, text in (("good", '{"id": "good"}'), ("renamed", '{"id": "other"}'), ("broken", "{")):
        (tmp_path / "releases" / name).mkdir(parents=True)
        (tmp_path / "releases" / name / "release.json").write_text(text)
    (tmp_path / "releases" / "half").mkdir()
    (tmp_path / "current").symlink_to("releases/good")
    assert host_facts.releases(str(tmp_path)) == {"complete": ["good"], "current": "good", "former": None}
    assert host_facts.releases(str(tmp_path / "absent")) == {"complete": [], "current": None, "former": None}


def test_the_current_release_is_described_well_enough_to_restore_it(tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "good"
    folder.mkdir(parents=True)
    (folder / "release.json").write_text('{"id": "good", "languages": ["b"], "model": {"name": "K"}}')
    (tmp_path / "current").symlink_to("releases/good")
    former = host_facts.releases(str(tmp_path))["former"]
    assert former["release"]["path"] == str(folder)
    assert (former["languages"], former["model"]) == (["b"], {"name": "K", "path": f"{folder}/models/K"})


def test_a_missing_path_is_measured_at_its_parent(tmp_path: Path) -> None:
    assert disk.existing_parent(str(tmp_path / "a/b/c")) == str(tmp_path)
    assert host_facts.filesystem(str(tmp_path / "a/b"))["device"] == tmp_path.stat().st_dev


def test_the_facts_of_this_host_fit_into_json(tmp_path: Path) -> None:
    facts = json.loads(json.dumps(host_facts.gather(str(tmp_path), str(tmp_path))))
    assert facts["architecture"]
    assert facts["cpus"] > 0
    assert facts["architecture"] in host_facts.summary(facts)
    assert (facts["foreign"], facts["candidate_foreign"]) == ({}, [])


def test_folders_and_accounts_of_others_are_found(tmp_path: Path) -> None:
    home = tmp_path / "service"
    (tmp_path / "service-candidate").mkdir()
    (tmp_path / "service-candidate" / "precious").touch()
    facts = host_facts.gather(str(tmp_path), str(home), {"voicefleet_root": "/opt"}, "root")
    assert facts["foreign"]["voicefleet_root"].startswith("/opt is at the top of the file system")
    assert facts["foreign"]["xinference_user"] == "root is root."
    assert facts["candidate_foreign"][0].startswith(f"{home}-candidate holds files (precious)")


def test_a_leftover_candidate_is_found(tmp_path: Path) -> None:
    home, units = tmp_path / "service", tmp_path / "units"
    home.mkdir()
    units.mkdir()
    assert not host_facts.candidate_left(str(home), str(units))
    (units / "voicefleet-candidate.service").write_text("[Unit]")
    assert host_facts.candidate_left(str(home), str(units))
    (units / "voicefleet-candidate.service").unlink()
    (tmp_path / "service-candidate").mkdir()
    assert not host_facts.candidate_left(f"{home}/", str(units)), "it is not ours"
    ownership.claim(str(tmp_path / "service-candidate"))
    assert host_facts.candidate_left(f"{home}/", str(units))


def test_the_instructions_that_an_old_processor_lacks_are_named() -> None:
    flags = "fpu sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm avx2"
    assert host_facts.missing_instructions(f"processor : 0\nflags\t\t: {flags}\n") == []
    assert host_facts.missing_instructions("flags : fpu sse sse2 pni cx16 lahf_lm\n") == [
        "popcnt",
        "sse4_1",
        "sse4_2",
        "ssse3",
    ]
    assert host_facts.missing_instructions("processor : 0\nFeatures : fp asimd\n") == []


def test_the_last_gap_is_read_if_possible(tmp_path: Path) -> None:
    assert host_facts.last_gap(str(tmp_path)) is None  # a folder
    receipts = tmp_path / "receipts.jsonl"
    assert host_facts.last_gap(str(receipts)) is None
    receipts.write_text('{"seconds": {"gap": 21.5}}\n')
    assert host_facts.last_gap(str(receipts)) == 21.5
