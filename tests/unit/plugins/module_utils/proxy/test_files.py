# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's files in a folder that stands for a host: modes, foreign files, and a removal that leaves nothing."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy import files as proxy_files, settings as proxy

PASSWORD = "p#a@s/s:w%zzx"
ENCODED = "p%23a%40s%2Fs%3Aw%25zzx"
SETTINGS = proxy.Settings(
    http="http://proxy.corp:3128",
    https="http://proxy.corp:3128",
    username="kim",
    password=PASSWORD,
    no_proxy=(".corp", "mirror.lab"),
    pip_index_url="https://mirror.lab/simple",
    certificates=("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",),
)
# RHEL 9's file.
DNF = """[main]
gpgcheck=1
installonly_limit=3
clean_requirements_on_remove=True
best=True
skip_if_unavailable=False
"""


class Commands:
    """Stands for systemctl and update-ca-certificates. The latter makes the bundle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[str] = []
        self.fail = False

    def __call__(self, command: Sequence[str], timeout: float) -> tuple[int, str]:
        self.ran.append(command[0])
        if self.fail:
            return 1, "no"
        if command[0] == "update-ca-certificates":
            anchors = sorted((self.root / "usr/local/share/ca-certificates").glob("*.crt"))
            bundle = "PUBLIC\n" + "".join(path.read_text() for path in anchors)
            (self.root / "etc/ssl/certs/ca-certificates.crt").write_text(bundle)
        return 0, ""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with apt, dnf, Docker and a trust store."""
    for folder in (
        "etc/pam.d", "etc/apt/apt.conf.d", "etc/dnf", "etc/systemd/system", "etc/profile.d", "etc/ssl/certs",
        "usr/local/share/ca-certificates", "lib/systemd/system", "run/systemd/system",
    ):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/dnf/dnf.conf").write_text(DNF)
    (tmp_path / "etc/environment").write_text("LANG=C")
    (tmp_path / "lib/systemd/system/docker.service").touch()
    (tmp_path / "etc/ssl/certs/ca-certificates.crt").write_text("PUBLIC\n")
    return tmp_path


def tree(root: Path) -> dict[str, Any]:
    """Return content and mode of all files by path."""
    return {
        str(path.relative_to(root)): (
            path.read_text() if path.is_file() else None,
            oct(stat.S_IMODE(path.lstat().st_mode)),
        )
        for path in sorted(root.rglob("*"))
    }


def host(root: Path, commands: Commands, check: bool = False) -> proxy_files.Host:
    return proxy_files.Host(check, proxy.secrets_of(SETTINGS), str(root), commands)


def keep(
    root: Path, settings: proxy.Settings = SETTINGS, check: bool = False, commands: Commands | None = None, **more: Any
) -> proxy_files.Applied:
    direct = proxy.no_proxy(settings, ["gpu1"])
    clients = more.pop("clients", proxy_files.CLIENTS)
    target = proxy_files.wanted(settings, direct, clients, more.pop("units", ["dnf-automatic.service"]), str(root))
    there = host(root, commands or Commands(root), check)
    there.keep(target)
    return there.done


def remove(root: Path, check: bool = False) -> proxy_files.Applied:
    there = host(root, Commands(root), check)
    there.remove()
    return there.done


def test_only_root_can_read_files_with_the_password(root: Path) -> None:
    keep(root)
    holders = {path for path, (text, _mode) in tree(root).items() if text and (PASSWORD in text or ENCODED in text)}
    assert holders == {
        "etc/voicefleet-proxy/environment",
        "etc/voicefleet-proxy/environment.sh",
        "etc/apt/apt.conf.d/95voicefleet-proxy",
        "etc/dnf/dnf.conf",
    }
    assert {tree(root)[path][1] for path in holders} == {"0o600"}


def test_everyone_can_read_the_other_settings(root: Path) -> None:
    keep(root)
    for path in ("etc/environment", "etc/profile.d/voicefleet-proxy.sh", "etc/environment.d/50-voicefleet-proxy.conf"):
        text, mode = tree(root)[path]
        assert mode == "0o644"
        assert "http://proxy.corp:3128" in text
        assert "localhost,127.0.0.1,::1,0.0.0.0,gpu1" in text
    assert "cert = /etc/ssl/certs/ca-certificates.crt" in (root / "etc/xdg/pip/pip.conf").read_text()
    assert "\nproxy" not in (root / "etc/xdg/pip/pip.conf").read_text()


@pytest.mark.parametrize("settings", [SETTINGS, proxy.Settings(http="http://proxy.corp:3128")])
def test_a_second_run_changes_nothing_and_absent_leaves_no_trace(root: Path, settings: proxy.Settings) -> None:
    before = tree(root)
    first = keep(root, settings)
    assert first.changes
    commands = Commands(root)
    again = keep(root, settings, commands=commands)
    assert (again.changes, again.cautions, commands.ran) == ([], [], [])
    assert remove(root).changes
    after = tree(root)
    # Only the end of line that was missing stays.
    assert after.pop("etc/environment")[0] == "LANG=C\n"
    before.pop("etc/environment")
    assert after == before
    assert remove(root).changes == []


def test_check_mode_reports_the_same_changes_and_writes_nothing(root: Path) -> None:
    before = tree(root)
    planned = keep(root, check=True)
    assert tree(root) == before
    done = keep(root)
    assert planned.changes == done.changes
    written = tree(root)
    planned = remove(root, check=True)
    assert tree(root) == written
    assert planned.changes == remove(root).changes


def test_no_diff_and_no_message_holds_a_secret(root: Path) -> None:
    done = keep(root)
    more = remove(root)
    said = str([done.changes, done.diff, more.changes, more.diff])
    assert PASSWORD not in said
    assert ENCODED not in said
    assert "***@proxy.corp:3128" in said


def test_foreign_files_and_lines_are_left_alone(root: Path) -> None:
    (root / "etc/xdg/pip").mkdir(parents=True)
    (root / "etc/xdg/pip/pip.conf").write_text("[global]\nindex-url = https://mine\n")
    (root / "etc/environment").write_text('HTTP_PROXY="http://old:1"\n')
    (root / "etc/dnf/dnf.conf").write_text(DNF + "proxy = http://old:1\n")
    before = tree(root)
    done = keep(root)
    for path in ("etc/xdg/pip/pip.conf", "etc/environment", "etc/dnf/dnf.conf"):
        assert tree(root)[path] == before[path]
        assert any(path in line for line in done.cautions)
    remove(root)
    assert tree(root) == before


def test_a_changed_file_is_rewritten_but_not_removed(root: Path) -> None:
    keep(root)
    path = root / "etc/profile.d/voicefleet-proxy.sh"
    written = path.read_text()
    path.write_text("# mine now\n")
    assert [line for line in keep(root).changes if "profile.d" in line]
    assert path.read_text() == written
    path.write_text("# mine now\n")
    done = remove(root)
    assert path.read_text() == "# mine now\n"
    assert any("changed after it was written" in line and "profile.d" in line for line in done.cautions)


def test_an_opened_mode_is_closed_again(root: Path) -> None:
    keep(root)
    for name in ("etc/voicefleet-proxy/environment", "etc/dnf/dnf.conf"):
        (root / name).chmod(0o644)
    keep(root)
    assert {tree(root)[name][1] for name in ("etc/voicefleet-proxy/environment", "etc/dnf/dnf.conf")} == {"0o600"}


def test_files_that_are_no_longer_wanted_are_removed(root: Path) -> None:
    keep(root)
    done = keep(root, clients=["login"], units=[])
    assert not (root / "etc/apt/apt.conf.d/95voicefleet-proxy").exists()
    assert (root / "etc/dnf/dnf.conf").read_text() == DNF
    assert tree(root)["etc/dnf/dnf.conf"][1] == "0o644"
    assert any("removed" in line for line in done.changes)


def test_a_new_password_reaches_every_file(root: Path) -> None:
    keep(root)
    other = proxy.Settings(**{**SETTINGS.__dict__, "password": "another"})
    keep(root, other)
    assert not [path for path, (text, _mode) in tree(root).items() if text and (PASSWORD in text or ENCODED in text)]
    remove(root)
    assert not (root / "etc/voicefleet-proxy").exists()


def test_the_next_run_completes_an_interrupted_one(root: Path) -> None:
    commands = Commands(root)
    commands.fail = True
    with pytest.raises(proxy_files.ProxyFilesError, match="daemon-reload failed"):
        keep(root, commands=commands)
    commands = Commands(root)
    done = keep(root, commands=commands)
    assert commands.ran == ["systemctl", "update-ca-certificates"]
    assert done.changes
    assert keep(root).changes == []


def test_a_trust_store_that_lost_the_ca_is_made_again(root: Path) -> None:
    keep(root)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("PUBLIC\n")
    assert keep(root).changes == ["/etc/ssl/certs/ca-certificates.crt made again, because it lacked a private CA"]
    assert "AAAA" in (root / "etc/ssl/certs/ca-certificates.crt").read_text()


def test_a_missing_trust_store_gives_a_note(tmp_path: Path) -> None:
    target = proxy_files.wanted(SETTINGS, proxy.no_proxy(SETTINGS, []), ["login"], [], str(tmp_path))
    assert any("no trust store" in note for note in target.notes)
    assert not any("CERT" in file.text for file in target.files)


def test_a_damaged_ledger_does_not_count_as_empty(root: Path) -> None:
    keep(root)
    (root / "etc/voicefleet-proxy/ledger.json").write_text("{")
    with pytest.raises(proxy_files.ProxyFilesError, match="damaged"):
        remove(root)


def test_shell_and_systemd_read_the_same_variables(root: Path) -> None:
    keep(root)
    source = shlex.quote(str(root / "etc/voicefleet-proxy/environment"))
    shown = subprocess.run(
        ["env", "-i", "sh", "-c", f"set -a; . {source}; env"], capture_output=True, text=True, check=True
    )
    values = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    assert values["https_proxy"] == f"http://kim:{ENCODED}@proxy.corp:3128"
    sourced = subprocess.run(
        ["env", "-i", "sh", "-c", f". {shlex.quote(str(root / 'etc/voicefleet-proxy/environment.sh'))}; env"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    same = dict(line.split("=", 1) for line in sourced.stdout.splitlines() if "=" in line)
    assert same["https_proxy"] == values["https_proxy"]
    assert same["NO_PROXY"] == values["NO_PROXY"]


def test_percent_signs_are_escaped_for_systemd(root: Path) -> None:
    keep(root, proxy.Settings(http="http://proxy.corp:3128", hf_endpoint="https://mirror/a%20b"))
    text = (root / "etc/systemd/system.conf.d/50-voicefleet-proxy.conf").read_text()
    assert '"HF_ENDPOINT=https://mirror/a%%20b"' in text
    drop_in = (root / "etc/systemd/system/docker.service.d/50-voicefleet-proxy.conf").read_text()
    assert "EnvironmentFile=/etc/voicefleet-proxy/environment\n" in drop_in


def test_apt_reaches_named_mirrors_directly(root: Path) -> None:
    keep(root)
    text = (root / "etc/apt/apt.conf.d/95voicefleet-proxy").read_text()
    assert f'Acquire::https::Proxy "http://kim:{ENCODED}@proxy.corp:3128";' in text
    assert 'Acquire::http::Proxy::mirror.lab "DIRECT";' in text
    assert ".corp " not in text


def test_pam_gets_a_line_short_enough_to_read(root: Path) -> None:
    many = tuple(f"gpu{number}.example.com" for number in range(500))
    settings = proxy.Settings(http="http://proxy.corp:3128", peers=many)
    target = proxy_files.wanted(settings, proxy.no_proxy(settings, []), ["pam"], [], str(root))
    (block,) = target.blocks
    assert max(map(len, block.text.splitlines())) < 1024
    assert any("pam_env" in note for note in target.notes)


def test_own_names_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n10.9.0.1 gpu1.corp gpu1 # us\n10.9.0.2 gpu2\n")
    (tmp_path / "proc/net/fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.9.0.0\n        /16 link UNICAST\n     |-- 10.9.0.1\n"
        "        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n"
    )
    (tmp_path / "proc/net/if_inet6").write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe80000000000000000000fffe000001 02 40 20 80     eth0\n"
        "fd000000000000000000000000000002 02 40 00 80     eth0\n"
    )
    assert proxy_files.own_names("gpu1", str(tmp_path)) == ["gpu1", "gpu1.corp", "10.9.0.1", "fd00::2"]


def test_a_unit_gets_the_variables(root: Path) -> None:
    keep(root)
    assert (root / "etc/systemd/system/dnf-automatic.service.d/50-voicefleet-proxy.conf").exists()
    block = (root / "etc/dnf/dnf.conf").read_text()
    assert block.startswith("[main]\n# BEGIN voicefleet.kokoro proxy\nproxy=http://proxy.corp:3128\n")
    assert os.stat(root / "etc/voicefleet-proxy/python3").st_mode & 0o777 == 0o700
