# SPDX-License-Identifier: GPL-3.0-or-later
"""Platforms: each supported one gets a Python and a release, according to its os-release and its programs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.plan import Python
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state.host_facts import os_release
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import platforms, preflight
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import profiles
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.recorded_gpu import NO_CARD

STORE_PYTHON = "3.11.1+20300101"

# The lines of each system's /etc/os-release that identify the platform, its systemd and its own Python.
RECORDED = {
    "Debian 12": (
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', 252, "3.11.2",
    ),
    "Debian 13": (
        'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n', 257, "3.13.5",
    ),
    "Ubuntu 22.04": (
        'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n', 249, "3.10.12",
    ),
    "Ubuntu 24.04": (
        'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n', 255, "3.12.3",
    ),
    "Ubuntu 26.04": (
        'PRETTY_NAME="Ubuntu 26.04 LTS"\nVERSION_ID="26.04"\nID=ubuntu\nID_LIKE=debian\n', 259, "3.14.0",
    ),
    "RHEL 9 and its rebuilds": (
        'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.6"\n'
        'PRETTY_NAME="Red Hat Enterprise Linux 9.6 (Plow)"\n', 252, "3.9.21",
    ),
    "RHEL 10 and its rebuilds": (
        'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="centos fedora"\nVERSION_ID="10.0"\n'
        'PRETTY_NAME="Red Hat Enterprise Linux 10.0 (Coughlan)"\n', 257, "3.12.9",
    ),
}  # fmt: skip


def facts(title: str, architecture: str = "x86_64") -> dict[str, Any]:
    """A bare host of a platform, as ``host_state`` reports it."""
    text, systemd, python = RECORDED[title]
    platform = next(p for p in platforms.PLATFORMS if p.title == title)
    place = {"free": 50_000_000_000, "device": 1, "noexec": False}
    return {
        "os": os_release(text),
        "architecture": architecture,
        "glibc": list(platform.glibc),
        "root_user": True,
        "pythons": [{"path": f"/usr/bin/python{'.'.join(python.split('.')[:2])}", "version": python}],
        "filesystems": {name: {**place, "path": f"/{name}"} for name in ("root", "home", "tmp")},
        "memory": {"total": 16_000_000_000, "available": 12_000_000_000},
        "cpu_count": 8,
        "missing_instructions": [],
        "addresses": [],
        "nft": None,
        "listeners": [22],
        "systemd": {"running": True, "version": systemd, "service_active": False},
        "releases": {"complete": [], "current": None},
        "candidate_left": False,
        "gateway": {"service": "", "running": False, "movable": False, "candidate": 0},
        "gap": None,
        "foreign": {},
        "candidate_foreign": [],
        "gpu": NO_CARD,
        "time": 0.0,
    }


def manifest(*names: str, carried: bool = True) -> Manifest:
    """A store of some profiles, with a Python 3.11 for each architecture or without any."""
    rows = []
    for name in names:
        rows.append(Artifact(f"locks/pylock.{name}.toml", "1" * 64, 1, "lock", name, "", profiles=(name,)))
        rows.append(Artifact(f"wheels/{name}.whl", "2" * 64, 1, "wheel", "xinference", "1.2.3", profiles=(name,)))
        if carried and "-py311-" in name:
            row = Artifact(
                f"python/{name}.tar.gz", "3" * 64, 1, "python", "cpython-3.11", STORE_PYTHON, profiles=(name,)
            )
            rows.append(row)
    rows += [
        Artifact("kokoro/Kokoro-82M/config.json", "4" * 64, 1, "kokoro-config", "config", "1"),
        Artifact("kokoro/Kokoro-82M/kokoro-v1_0.pth", "5" * 64, 1, "kokoro-weights", "weights", "1"),
        Artifact("kokoro/Kokoro-82M/voices/ef_dora.pt", "6" * 64, 1, "kokoro-voice", "ef_dora", "1"),
    ]
    return Manifest(tuple(rows), tuple(names))


def judge(store: Manifest, host: dict[str, Any], **changes: Any) -> preflight.Verdict:
    held: dict[str, Any] = {"missing": [], "stale": [], "surplus": [], "arrived": 0}
    asked = {"languages": ["e"], "voices": [], "root": "/opt/voicefleet", "home": "/var/lib/voicefleet", "port": 9997}
    return preflight.judge(store, "0" * 64, "/store", host, held, preflight.Wanted(**{**asked, **changes}), 0.0)


@pytest.mark.parametrize("title", RECORDED)
def test_each_platform_is_known_by_its_os_release(title: str) -> None:
    platform = platforms.find(facts(title)["os"])
    assert platform is not None
    assert platform.title == title
    assert RECORDED[title][2].startswith(f"{platform.python}.")
    assert platform.glibc >= profiles.HOST_GLIBC
    assert RECORDED[title][1] >= preflight.SYSTEMD_VERSION


def test_every_platform_was_recorded() -> None:
    assert list(RECORDED) == [platform.title for platform in platforms.PLATFORMS]


@pytest.mark.parametrize("identity", ["almalinux", "rocky", "centos", "ol"])
@pytest.mark.parametrize("version", ["9", "9.6", "10.0"])
def test_rebuilds_of_rhel_count_as_it(identity: str, version: str) -> None:
    platform = platforms.find({"id": identity, "version_id": version})
    assert platform is not None
    assert platform.title == f"RHEL {version.split('.')[0]} and its rebuilds"
    assert platform.selinux


@pytest.mark.parametrize("architecture", profiles.ARCHITECTURES)
@pytest.mark.parametrize("title", RECORDED)
def test_each_platform_gets_a_python(title: str, architecture: str) -> None:
    """Its own if a profile suits it, else the store's. A store with two profiles serves all platforms."""
    host = facts(title, architecture)
    verdict = judge(manifest(f"cpu-py311-{architecture}", f"cpu-py312-{architecture}"), host)
    assert verdict.failures == []
    own = platforms.find(host["os"])
    assert own is not None
    assert verdict.plan is not None
    if own.python in ("3.11", "3.12"):
        assert verdict.plan.python == Python(own.python, f"/usr/bin/python{own.python}")
    else:
        path = f"/opt/voicefleet/tools/python-{STORE_PYTHON}/bin/python3.11"
        assert verdict.plan.python == Python("3.11", path, "3" * 64)


@pytest.mark.parametrize("title", ["Debian 13", "Ubuntu 22.04", "Ubuntu 26.04", "RHEL 9 and its rebuilds"])
def test_without_a_python_in_the_store_the_message_says_what_to_fetch(title: str) -> None:
    (finding,) = judge(manifest("cpu-py311-x86_64", carried=False), facts(title)).failures
    assert finding.code == "PYTHON"
    assert 'artifact_store_pythons: ["3.11"]' in finding.remedy
    assert ("nothing newer" in finding.remedy) == (title in ("Debian 13", "Ubuntu 26.04"))


def test_another_architecture_is_reported() -> None:
    (finding,) = judge(manifest("cpu-py311-x86_64"), facts("Debian 12", "aarch64")).failures
    assert finding.code == "ARCHITECTURE"


@pytest.mark.parametrize(
    ("identity", "version"), [("debian", "11"), ("ubuntu", "24.10"), ("rhel", "8.10"), ("fedora", "43"), ("", "")]
)
def test_another_platform_is_refused_with_a_remedy(identity: str, version: str) -> None:
    host = facts("Debian 12")
    host["os"] = {"id": identity, "version_id": version, "pretty_name": "", "id_like": "debian"}
    (finding,) = judge(manifest("cpu-py311-x86_64"), host).failures
    assert finding.code == "PLATFORM"
    assert "Debian 12, Debian 13, Ubuntu 22.04" in finding.cause
    assert "preflight_any_platform: true" in finding.remedy
    verdict = judge(manifest("cpu-py311-x86_64"), host, any_platform=True)
    assert not verdict.failures
    assert [found.code for found in verdict.findings] == ["PLATFORM"]
