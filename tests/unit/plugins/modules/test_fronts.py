# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules gateway and balancer prepare for module_utils/front/front.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer as nodes, front
from ansible_collections.voicefleet.kokoro.plugins.modules import balancer, gateway

KEY = "xf-0123456789abcdef"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"


def texts(folder: Path, **more: Any) -> dict[str, str]:
    """The files of a balancer by name."""
    params = {"folder": str(folder), "client_keys": [], "files": {"haproxy.cfg": "x\n"}, "unit": "b.service"}
    one = nodes.Node("one", "10.0.0.1", 9443, KEY, PEM, "one")
    files = balancer.files_of({**params, "unit_content": "[Unit]\n", **more}, [one])
    secret = {Path(file.path).name for file in files if file.secret}
    assert secret == {"keys.cfg", "clients.lst", "client.key", "client.header"}
    assert {file.mode for file in files[:-1]} == {0o600}
    assert files[-1].path == "/etc/systemd/system/b.service"
    return {Path(file.path).name: file.content for file in files}


def test_the_key_for_clients_is_made_once_and_kept(tmp_path: Path) -> None:
    first = texts(tmp_path)
    assert first["client.key"] != texts(tmp_path)["client.key"]
    (tmp_path / "client.key").write_text(first["client.key"])
    assert texts(tmp_path) == first
    assert first["clients.lst"] == first["client.key"]
    assert first["client.header"] == f"Authorization: Bearer {first['client.key']}"
    assert first["node-1.ca.pem"] == PEM + "\n"
    assert KEY in first["keys.cfg"]


def test_the_operators_keys_replace_the_hosts_key(tmp_path: Path) -> None:
    (tmp_path / "client.key").write_text("xf-made-on-the-host\n")
    given = texts(tmp_path, client_keys=["xf-new-key-of-mine-1", "xf-old-key-of-mine-1"])
    assert given["clients.lst"] == "xf-new-key-of-mine-1\nxf-old-key-of-mine-1\n"
    assert given["client.key"] == "xf-new-key-of-mine-1\n"


def closed(folder: Path, check: bool = False, **more: Any) -> gateway.Gateway:
    params = {
        "folder": str(folder),
        "nginx": "/bin/sh",
        "certificate": "",
        "certificate_key": "",
        "names": ["speech.example"],
        "days": 825,
        "renew_days": 90,
    }
    return gateway.Gateway({**params, **more}, check)


def test_all_obstacles_to_a_gateway_are_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.shutil, "which", lambda _name: None)
    found = closed(tmp_path, nginx="/no/nginx", certificate_key="x", names=["a b"], days=30).faults()
    assert len(found) == 5
    for words in ("nginx is not there", "openssl is not there", "give both or none", "less than", "'a b'"):
        assert sum(words in sentence for sentence in found) == 1, words


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is a host's program")
def test_a_certificate_is_made_once_and_only_reported_in_check_mode(tmp_path: Path) -> None:
    assert closed(tmp_path, check=True).certificate_files() == ([], "there is none")
    files, why = closed(tmp_path).certificate_files()
    assert why == "there is none"
    assert {Path(file.path).name: (file.mode, file.secret) for file in files} == {
        "server.key": (0o600, True),
        "server.pem": (0o644, False),
        "ca.key": (0o600, True),
        "ca.pem": (0o644, False),
    }
    for file in files:
        file.write()
    assert closed(tmp_path).certificate_files() == (files, None)
    by_name = {Path(file.path).name: file.content for file in files}

    # The operator's certificate: without our authority, and with a warning before it expires.
    given = {"certificate": by_name["server.pem"], "certificate_key": by_name["server.key"], "renew_days": 826}
    mine = closed(tmp_path, **given)
    assert [Path(file.path).name for file in mine.certificate_files()[0]] == ["server.key", "server.pem"]
    assert mine.warnings == ["the gateway's certificate expires within 826 days; renew it"]


def program(folder: Path, says: str) -> str:
    """A program that prints its version."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("says", "old"),
    [
        ("HAProxy version 2.4.22-f8e3218 2023/02/14 - https://haproxy.org/", "2.4"),
        ("HA-Proxy version 2.2.9-2+deb11u6 2023/12/12", "2.2"),
        ("HAProxy version 2.6.12-1+deb12u2 2025/04/01", None),
        ("HAProxy version 3.0.11-1 2025/06/03", None),
        ("a program that does not name its version", None),
    ],
)
def test_an_old_haproxy_is_refused(tmp_path: Path, says: str, old: str | None) -> None:
    fault = front.version_fault(program(tmp_path, says), "-v", balancer.OLDEST)
    assert (fault is None) == (old is None)
    assert old is None or fault.endswith(f"is version {old}, and the configuration needs 2.6 or newer.")  # type: ignore[union-attr]


@pytest.mark.parametrize(("says", "old"), [("1.14.1", "1.14"), ("1.18.0", None), ("1.29.3", None)])
def test_an_old_nginx_is_refused_before_anything_changes(tmp_path: Path, says: str, old: str | None) -> None:
    faults = " ".join(closed(tmp_path, nginx=program(tmp_path, f"nginx version: nginx/{says}")).faults())
    assert (f"is version {old}, and the configuration needs 1.16" in faults) == (old is not None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program"]
