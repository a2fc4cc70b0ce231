# SPDX-License-Identifier: GPL-3.0-or-later
"""The levels that need more than one answer, on the real service: phonemes, performance, offline.

The scenario `hearing` judges what is heard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployed import UNIT, Speaker
from deploys import succeed
from testinfra.host import Host

DROP_IN = f"/run/systemd/system/{UNIT}.d/50-talker.conf"
TALKER = "/usr/local/lib/talker.py"
# Runs in the service's own group, sandbox and environment, like a library that looks for a newer model.
REACHES_OUT = """
import contextlib, socket, urllib.request
with contextlib.suppress(OSError):
    socket.getaddrinfo("models.example.org", 443)
with contextlib.suppress(OSError):
    urllib.request.urlopen("https://hub.example.org/api/models?token=secret", timeout=5)
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 443), 2)
"""


def verify(host: Host, folder: Path, **variables: Any) -> dict[str, Any]:
    """Run verify.yml with all levels. Return the proof that the controller keeps."""
    given = {"synthesis_restart": True, "synthesis_requests": 2, "synthesis_report_dir": str(folder), **variables}
    succeed("--extra-vars", json.dumps(given), play="verify")
    proof = json.loads((folder / "hosts" / f"{host.backend.get_hostname()}.json").read_text(encoding="utf-8"))
    return dict(proof["synthesis"])


def found(proof: dict[str, Any], level: str) -> dict[str, bool | None]:
    return {finding["name"]: finding["ok"] for finding in proof["findings"] if finding["level"] == level}


@pytest.fixture(scope="session")
def proof(host: Host, speaker: Speaker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    speaker.wait()
    return verify(host, tmp_path_factory.mktemp("silent"))


def test_the_releases_misaki_makes_the_right_phonemes(proof: dict[str, Any]) -> None:
    names = ("sentence", "number", "abbreviation", "invented", "long_line", "invented_audio")
    assert found(proof, "phonemes") == dict.fromkeys(names, True)
    assert [spoken["ok"] for spoken in proof["phonemes"]] == [True]


def test_its_speed_is_measured_alone_and_under_load(proof: dict[str, Any]) -> None:
    series = proof["performance"]["parallel"]
    assert [(number, series[number]["requests"], series[number]["errors"]) for number in series] == [
        ("1", 2, 0),
        ("4", 4, 0),
    ]
    assert 0 < series["1"]["latency"]["p50"] <= series["1"]["latency"]["p95"]
    # One model speaks one sentence after the other.
    assert series["4"]["latency"]["p95"] > series["1"]["latency"]["p50"]
    assert set(found(proof, "performance").values()) == {True}


def test_all_formats_that_were_asked_for_are_offered(proof: dict[str, Any]) -> None:
    formats = {sample["format"]: sample["offered"] for sample in proof["samples"]}
    assert formats == dict.fromkeys(("wav", "mp3", "flac", "opus"), True)


def test_it_contacts_nothing_outside_while_it_starts(proof: dict[str, Any], host: Host) -> None:
    good = {"spoke": True, "names": True, "proxied": True, "sockets": True, "without_route": True}
    assert found(proof, "offline") == good, proof["offline"]
    assert proof["offline"]["looks"] > 100
    # Everything is restored.
    assert host.check_output("systemctl show --property DropInPaths --value %s", UNIT) == ""
    assert not host.file("/run/voicefleet-offline").exists
    environment = host.check_output("cat /proc/$(systemctl show --property MainPID --value %s)/environ", UNIT)
    assert "127.0.53.77" not in environment
    assert "voicefleet-offline" not in host.check_output("systemctl list-units --all --plain --no-legend")


@pytest.fixture
def talker(host: Host) -> Iterator[None]:
    """Give the service a process that contacts the outside."""
    host.check_output("mkdir -p %s && printf %%s %s > %s", TALKER.rpartition("/")[0], REACHES_OUT, TALKER)
    text = f"[Service]\nExecStartPost=-/usr/bin/python3 {TALKER}\n"
    host.check_output("mkdir -p %s && printf %%s %s > %s", DROP_IN.rpartition("/")[0], text, DROP_IN)
    yield
    host.check_output("rm -f %s %s && systemctl daemon-reload", DROP_IN, TALKER)


@pytest.mark.usefixtures("talker")
def test_every_contact_with_the_outside_is_seen(host: Host, tmp_path: Path) -> None:
    quick = {"synthesis_formats": ["wav"], "synthesis_extra_formats": [], "synthesis_voices": ["af_heart"]}
    proof = verify(host, tmp_path, synthesis_requests=1, synthesis_parallel=1, **quick)
    # The host has no route. So the kernel counts the attempt, but does not say whose it was.
    assert found(proof, "offline") == {
        **{"spoke": True, "names": False, "proxied": False, "sockets": True},
        "without_route": None,
    }
    assert "models.example.org A" in proof["offline"]["names"]
    assert list(proof["offline"]["proxied"]) == ["hub.example.org:443"]
    assert proof["offline"]["without_route"] > 0
    # The operator's own drop-in stays.
    assert host.file(DROP_IN).exists
