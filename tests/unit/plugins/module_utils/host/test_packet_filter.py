# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the packet filter: who reaches which port, and which values are refused before nft runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import packet_filter
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.systemd_unit import MARKER

MEMBERS = ["10.0.0.10", "10.0.0.11"]


def lines(**given: Any) -> list[str]:
    rules = packet_filter.Rules(**{"user": "nobody", "members": MEMBERS, **given})
    return [line.strip() for line in packet_filter.text(rules).splitlines()]


def test_the_rules_of_a_supervisor() -> None:
    found = lines(private=[9998], api=[9997], clients=["localhost", "10.1.0.0/16"])
    assert "tcp dport { 9998 } ip saddr { 10.0.0.10/31 } accept" in found
    assert "tcp dport { 9997 } ip saddr { 10.0.0.10/31, 10.1.0.0/16 } accept" in found
    assert "tcp dport { 9997, 9998 } drop" in found
    # The API may answer everyone who may connect. All other packets of the service stay in the cluster.
    assert found.index('meta skuid "nobody" tcp sport { 9997 } accept') < found.index('meta skuid "nobody" drop')


def test_only_members_reach_the_ports_of_a_worker() -> None:
    found = lines(private=[30001], metrics=[31001])
    assert "tcp dport { 31001 } ip saddr { 10.0.0.10/31 } accept" in found
    assert "tcp dport { 30001, 31001 } drop" in found
    owner = [line for line in found if line.startswith("meta skuid")]
    assert owner == [
        'meta skuid "nobody" ip daddr { 10.0.0.10/31 } accept',
        'meta skuid "nobody" tcp sport { 31001 } accept',
        'meta skuid "nobody" drop',
    ]


def test_scrapers_read_metrics_and_nothing_else() -> None:
    found = lines(private=[30001], metrics=[31001], metrics_networks=["10.9.0.1", "fd00::9"])
    assert "tcp dport { 31001 } ip saddr { 10.0.0.10/31, 10.9.0.1 } accept" in found
    assert "tcp dport { 31001 } ip6 saddr { fd00::9 } accept" in found
    assert "tcp dport { 30001 } ip saddr { 10.0.0.10/31 } accept" in found


def test_an_api_for_everyone_is_not_filtered() -> None:
    found = lines(private=[9998], api=[9997], clients=["any"])
    assert "tcp dport { 9998 } drop" in found
    assert not [line for line in found if line.startswith("tcp dport") and "9997" in line]


def test_only_our_table_is_replaced() -> None:
    text = "\n".join(lines(private=[1]))
    assert MARKER in text
    assert "flush" not in text
    assert text.count("table inet voicefleet") == 3


def test_an_independent_host_only_answers_on_its_api() -> None:
    found = lines(members=[], api=[9997], clients=["localhost", "10.1.0.0/16"])
    assert "tcp dport { 9997 } ip saddr { 10.1.0.0/16 } accept" in found
    assert found[-4:-2] == ['meta skuid "nobody" tcp sport { 9997 } accept', 'meta skuid "nobody" drop']


@pytest.mark.parametrize("members", [["host.example"], ["10.0.0.1; drop"], ["fe80::1%a; drop\n"]])
def test_an_invalid_address_is_refused(members: list[str]) -> None:
    with pytest.raises(packet_filter.FilterError):
        lines(members=members)


def test_a_user_that_adds_a_rule_is_refused() -> None:
    with pytest.raises(packet_filter.FilterError, match="not the name of a user"):
        lines(user='x" accept')


def test_overlapping_networks_are_merged() -> None:
    found = lines(api=[1], clients=["10.0.0.0/8", "10.1.0.0/16", "10.2.3.4"])
    assert "tcp dport { 1 } ip saddr { 10.0.0.0/8 } accept" in found


def test_the_unit_loads_before_the_network_and_reloads_in_one_step() -> None:
    unit = packet_filter.unit("/usr/sbin/nft", "/etc/x.nft")
    assert unit.startswith(MARKER + "\n")
    for line in ("Before=network-pre.target shutdown.target", "ExecReload=/usr/sbin/nft -f /etc/x.nft"):
        assert line in unit.splitlines()


SCRIPT = """
set -e
start() {{ {check} && {nft} -f {file}; }}
start && start
{stop}
! {nft} list table inet voicefleet
{nft} add table inet voicefleet
! {check}
! {stop}
{nft} list table inet voicefleet
"""


@pytest.mark.skipif(shutil.which("nft", path=packet_filter.PATH) is None, reason="nft is not installed")
def test_the_unit_replaces_and_removes_only_a_table_with_our_mark(tmp_path: Path) -> None:
    nft, file = str(packet_filter.find_nft()), tmp_path / "rules.nft"
    file.write_text(packet_filter.text(packet_filter.Rules("nobody", MEMBERS)))
    commands = dict(line.split("=", 1) for line in packet_filter.unit(nft, str(file)).splitlines() if "=" in line)
    script = SCRIPT.format(check=commands["ExecStartPre"], stop=commands["ExecStop"], nft=nft, file=file)
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "bash", "-c", script], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "Operation not" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert packet_filter.FOREIGN in done.stderr


@pytest.mark.skipif(shutil.which("nft", path=packet_filter.PATH) is None, reason="nft is not installed")
def test_nft_accepts_the_rules(tmp_path: Path) -> None:
    """Test all kinds of rules at once, in a separate network namespace."""
    rules = packet_filter.Rules(
        "nobody", [*MEMBERS, "fd00::1"], [9998], [9997], ["10.1.0.0/16", "fd01::/64"], [31001], ["10.9.9.9"]
    )
    file = tmp_path / "rules.nft"
    file.write_text(packet_filter.text(rules))
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", str(packet_filter.find_nft()), "--check", "--file", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stderr) == (0, "")
