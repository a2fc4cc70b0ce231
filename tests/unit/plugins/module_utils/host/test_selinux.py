# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux labels: those of the policy by restorecon, or bin_t without restorecon or a rule of the policy."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import front
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import selinux
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import preflight


class Kernel:
    """A stand-in for a kernel with SELinux: labels by file, and a restorecon that knows some folders."""

    def __init__(self, mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.labels: dict[str, bytes] = {}
        self.knows = ""  # the policy knows programs below this folder
        self.ran: list[list[str]] = []
        mount.mkdir()
        (mount / "enforce").write_text("1")
        monkeypatch.setattr(selinux, "MOUNT", str(mount))
        monkeypatch.setattr(os, "getxattr", self.get, raising=False)
        monkeypatch.setattr(os, "setxattr", self.set, raising=False)
        monkeypatch.setattr(selinux.shutil, "which", lambda name, path: "/usr/sbin/restorecon" if self.knows else None)
        monkeypatch.setattr(selinux.subprocess, "run", self.run)

    def get(self, path: str, name: str) -> bytes:
        assert name == "security.selinux"
        if path not in self.labels:
            raise OSError(errno.ENODATA, "No data available")
        return self.labels[path]

    def set(self, path: str, name: str, value: bytes) -> None:
        assert name == "security.selinux"
        self.labels[path] = value

    def run(self, command: list[str], **_more: Any) -> subprocess.CompletedProcess[bytes]:
        self.ran.append(command)
        for path in selinux.programs(command[-1]):
            if path.startswith(self.knows):
                self.labels[path] = b"system_u:object_r:bin_t:s0\0"
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path / "selinux", monkeypatch)


@pytest.fixture
def env(tmp_path: Path) -> str:
    """An environment with two programs and a link to an interpreter elsewhere."""
    place = tmp_path / "release/env/bin"
    place.mkdir(parents=True)
    for name in ("xinference-local", "xinference-worker"):
        (place / name).touch()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").touch()
    (place / "python").symlink_to(tmp_path / "usr/bin/python3.11")
    return str(tmp_path / "release/env")


def test_restorecon_sets_the_labels_of_the_policy(kernel: Kernel, env: str) -> None:
    kernel.knows = env
    kernel.labels[f"{env}/bin/xinference-local"] = b"unconfined_u:object_r:usr_t:s0\0"
    assert len(selinux.mislabelled(env)) == 2
    selinux.label(env)
    assert kernel.ran == [["/usr/sbin/restorecon", "-R", "-F", env]]
    assert selinux.mislabelled(env) == []
    assert not any("python" in path for path in kernel.labels)


@pytest.mark.parametrize("knows", ["", "/opt/elsewhere"])
def test_programs_get_bin_t_without_restorecon_or_a_rule_of_the_policy(kernel: Kernel, env: str, knows: str) -> None:
    kernel.knows = knows
    selinux.label(env)
    assert bool(kernel.ran) == bool(knows)
    assert kernel.labels[f"{env}/bin/xinference-local"] == b"system_u:object_r:bin_t:s0\0"
    assert selinux.type_of(f"{env}/bin/xinference-worker") == "bin_t"


def test_nothing_changes_if_selinux_is_off(kernel: Kernel, env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "MOUNT", "/nonexistent")
    selinux.label(env)
    assert (kernel.ran, kernel.labels) == ([], {})
    assert selinux.facts(os.path.dirname(env)) == {"enabled": False, "enforcing": False, "mislabelled": []}


def test_facts_name_wrong_programs_of_the_release_and_of_the_stores_python(
    kernel: Kernel, env: str, tmp_path: Path
) -> None:
    facts = selinux.facts(os.path.dirname(env))
    assert (facts["enabled"], facts["enforcing"]) == (True, True)
    assert facts["mislabelled"] == [
        f"{env}/bin/xinference-local", f"{env}/bin/xinference-worker", str(tmp_path / "usr/bin/python3.11"),
    ]  # fmt: skip
    selinux.label(env)
    selinux.label(str(tmp_path / "usr"))
    assert selinux.facts(os.path.dirname(env))["mislabelled"] == []
    assert selinux.facts(str(tmp_path / "none"))["mislabelled"] == []


def test_findings_name_wrong_labels_and_the_remedy() -> None:
    def found(root: str, **changes: Any) -> list[tuple[str, str]]:
        facts = {"selinux": {"enabled": True, "enforcing": True, "mislabelled": [], **changes}}
        return [(finding.level, str(finding)) for finding in preflight.selinux_findings(facts, root)]

    assert found("/opt/voicefleet") == []
    assert preflight.selinux_findings({}, "/srv/voicefleet") == []
    ((level, text),) = found("/srv/voicefleet")
    assert level == "WARN"
    assert "semanage fcontext -a -t bin_t '/srv/voicefleet/(.*/)?bin(/.*)?'" in text
    ((level, text),) = found("/opt/voicefleet", mislabelled=["/opt/voicefleet/current/env/bin/python"])
    assert level == "FAIL"
    assert "restorecon -RF /opt/voicefleet" in text
    assert found("/opt/voicefleet", enforcing=False, mislabelled=["/x"])[0][0] == "WARN"


def test_a_folder_gets_the_type_that_its_reader_may_read(kernel: Kernel, tmp_path: Path) -> None:
    selinux.set_type(str(tmp_path), "httpd_config_t")
    assert selinux.type_of(str(tmp_path)) == "httpd_config_t"


def test_without_selinux_nothing_gets_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "MOUNT", str(tmp_path))
    monkeypatch.setattr(os, "setxattr", lambda *_arguments: pytest.fail("it was set"), raising=False)
    selinux.set_type(str(tmp_path), "httpd_config_t")


def test_a_boolean_that_is_off_refuses_only_while_the_policy_is_enforced(kernel: Kernel, tmp_path: Path) -> None:
    assert not selinux.refuses("haproxy_connect_any")  # the policy does not have it
    (tmp_path / "selinux/booleans").mkdir()
    boolean = tmp_path / "selinux/booleans/haproxy_connect_any"
    boolean.write_text("0 0")
    assert selinux.refuses("haproxy_connect_any")
    (warning,) = front.selinux_warnings("haproxy_connect_any")
    assert "setsebool -P haproxy_connect_any 1" in warning
    boolean.write_text("1 1")
    assert front.selinux_warnings("haproxy_connect_any") == []
    boolean.write_text("0 0")
    (tmp_path / "selinux/enforce").write_text("0")
    assert not selinux.refuses("haproxy_connect_any")
