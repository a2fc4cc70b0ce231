# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.systemd_unit import SystemdError, Unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import offline
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.acoustics import Finding
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.offline import DeadEnd, outward
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import SpeechError

NAME = "voicefleet-xinference.service"


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\0" + struct.pack(">HH", kind, 1)


@pytest.fixture
def dead_end() -> Iterator[DeadEnd]:
    for _try in range(9):
        opened = DeadEnd("127.0.0.1", 0)
        try:
            opened.start()
            break
        except OSError:  # the port that was free for UDP is taken for TCP
            opened.stop()
    yield opened
    opened.stop()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- who comes to the dead end


def test_a_name_lookup_is_noted_and_refused(dead_end: DeadEnd) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        for kind in (1, 28):
            client.sendto(question("huggingface.co", kind), ("127.0.0.1", dead_end.name_port))
            answer = client.recv(512)
            assert answer[:2] == b"\x12\x34"
            flags = struct.unpack_from(">H", answer, 2)[0]
            assert (flags & 0x8000, flags & 0x0F) == (0x8000, 3)  # an answer: no such name
            assert answer[12:] == question("huggingface.co", kind)[12:]
        client.sendto(b"what", ("127.0.0.1", dead_end.name_port))
    until(lambda: len(dead_end.names) == 3)
    assert dead_end.names["huggingface.co A"] == dead_end.names["huggingface.co AAAA"] == 1
    assert dead_end.names["a malformed question (4 bytes)"] == 1


def test_a_name_lookup_over_tcp_is_noted(dead_end: DeadEnd) -> None:
    with socket.create_connection(("127.0.0.1", dead_end.name_port), 5) as client:
        asked = question("modelscope.cn", 65)
        client.sendall(struct.pack(">H", len(asked)) + asked)
        assert client.recv(512)[2:4] == b"\x12\x34"
    assert dead_end.names == {"modelscope.cn HTTPS": 1}


@pytest.mark.parametrize(
    "packet", [b"", question("x")[:14], question("x")[:2] + b"\x81" + question("x")[3:], b"\0" * 40]
)
def test_other_packets_are_not_dns_questions(packet: bytes) -> None:
    asked = offline.parse_question(packet)
    assert asked is None


def test_the_system_resolver_reaches_the_name_server() -> None:
    """What a question looks like is not ours to invent: glibc's own, where one may be asked on port 53."""
    packet = b"\xab\xcd\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x03raw\x11githubusercontent\x03com\x00\x00\x01\x00\x01"
    packet += b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"  # EDNS, after the question
    assert offline.parse_question(packet) == "raw.githubusercontent.com A"
    assert offline.refusal(packet)[12:] == packet[12:-11]


@pytest.mark.parametrize(
    ("address", "noted"),
    [
        ("https://huggingface.co/api/models?token=secret", "huggingface.co:443"),
        ("http://user:secret@pypi.org/simple/?key=secret", "http://pypi.org/simple/"),
    ],
)
def test_a_client_of_the_proxy_is_noted_without_its_secrets(dead_end: DeadEnd, address: str, noted: str) -> None:
    proxy = f"http://127.0.0.1:{dead_end.proxy_port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    with pytest.raises(OSError, match="502|Dead end"):
        opener.open(address, timeout=5)
    assert dead_end.visits == {noted: 1}


def test_a_silent_connection_is_noted(dead_end: DeadEnd) -> None:
    socket.create_connection(("127.0.0.1", dead_end.proxy_port), 5).close()
    until(lambda: dead_end.visits == {"a connection without a request": 1})


def test_a_taken_port_is_reported_and_nothing_stays_open(dead_end: DeadEnd) -> None:
    second = DeadEnd("127.0.0.1", dead_end.name_port)
    with pytest.raises(OSError, match="in use"):
        second.start()
    assert second._sockets == []


# --- sockets, in a tree like /proc

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, remote: str, state: str, uid: int, inode: int) -> str:
    return (
        f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5d}        0 {inode} 1 0 100 0\n"
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A host whose user 990 serves on 9997, with a client from outside; 4711 is its process."""
    net = tmp_path / "net"
    net.mkdir()
    rows = [
        row("0100007F:270D", "00000000:0000", "0A", 990, 10),  # listens on 127.0.0.1:9997
        row("0500000A:270D", "0600000A:C350", "01", 990, 11),  # a client of 10.0.0.6, which came in
        row("0100007F:9C40", "0100007F:270D", "01", 990, 12),  # talks to itself
        row("0500000A:0016", "0700000A:C350", "01", 0, 13),  # sshd of root
        row("0500000A:8000", "080000C0:01BB", "06", 0, 0),  # TIME_WAIT is nobody's
    ]
    (net / "tcp").write_text(HEAD + "".join(rows))
    for name in ("tcp6", "udp", "udp6"):
        (net / name).write_text(HEAD)
    fd = tmp_path / "4711" / "fd"
    fd.mkdir(parents=True)
    (fd / "3").symlink_to("socket:[77]")
    (fd / "4").symlink_to("/dev/null")
    return tmp_path


def add(proc: Path, table: str, text: str) -> None:
    with (proc / "net" / table).open("a") as handle:
        handle.write(text)


def test_incoming_connections_do_not_count(proc: Path) -> None:
    assert outward(str(proc), 990, [4711]) == set()


def test_sockets_that_lead_outside_are_found(proc: Path) -> None:
    add(proc, "tcp", row("0500000A:8001", "010200C0:01BB", "02", 990, 20))  # 192.0.2.1:443
    add(proc, "udp", row("0500000A:8002", "08080808:0035", "01", 990, 21))
    six = "B80D0120000000000000000001000000"  # 2001:db8::1
    add(proc, "tcp6", row("0" * 32 + ":8003", f"{six}:01BB", "02", 990, 22))
    mapped = "0000000000000000FFFF0000010200C0"
    add(proc, "tcp6", row("0" * 32 + ":8004", f"{mapped}:0050", "01", 990, 23))
    assert outward(str(proc), 990, []) == {
        "tcp 192.0.2.1:443 SYN_SENT",
        "udp 8.8.8.8:53",
        "tcp [2001:db8::1]:443 SYN_SENT",
        "tcp 192.0.2.1:80 ESTABLISHED",
    }


def test_a_socket_of_another_user_counts_where_a_process_of_the_service_holds_it(proc: Path) -> None:
    add(proc, "tcp", row("0500000A:8001", "010200C0:01BB", "02", 0, 77))
    assert outward(str(proc), 990, [4711]) == {"tcp 192.0.2.1:443 SYN_SENT"}
    assert outward(str(proc), None, [4711]) == {"tcp 192.0.2.1:443 SYN_SENT"}
    assert outward(str(proc), 990, [1, 99999]) == set()


def test_the_real_tables_are_read() -> None:
    """A connected UDP socket sends nothing, and stands in the kernel's table."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        try:
            client.connect(("192.0.2.1", 53))
        except OSError:
            pytest.skip("this machine has no route to anywhere")
        assert "udp 192.0.2.1:53" in outward("/proc", None, [os.getpid()])


def test_the_kernel_counts_packets_without_a_route(proc: Path) -> None:
    assert offline.no_routes(str(proc)) is None
    (proc / "net/snmp").write_text("Ip: Forwarding OutNoRoutes InDelivers\nIp: 1 7 30\nIcmp: InMsgs\nIcmp: 1\n")
    assert offline.no_routes(str(proc)) == 7
    (proc / "net/snmp6").write_text("Ip6InReceives 5\nIp6OutNoRoutes 2\n")
    assert offline.no_routes(str(proc)) == 9


def test_a_default_route_is_found(proc: Path) -> None:
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    (proc / "net/route").write_text(head + "eth0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n")
    none = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200"
    (proc / "net/ipv6_route").write_text(f"{none} lo\n")  # the kernel's own, "unreachable"
    assert not offline.default_route(str(proc))
    (proc / "net/ipv6_route").write_text(f"{none} eth0\n")
    assert offline.default_route(str(proc))
    (proc / "net/ipv6_route").unlink()
    (proc / "net/route").write_text(head + "eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n")
    assert offline.default_route(str(proc))


# --- the drop-in


class Systemd:
    """In place of systemctl and systemd-run; `on` is done at a command that holds its words."""

    def __init__(self, **on: Callable[[], tuple[int, str]]) -> None:
        self.said: list[str] = []
        self.on = on
        self.active = "active"

    def run(self, command: Sequence[str], _timeout: float) -> tuple[int, str]:
        line = " ".join(command)
        self.said.append(line)
        for words, act in self.on.items():
            if words in line:
                return act()
        if command[1] == "show":
            values = {"ActiveState": f"ActiveState={self.active}", "User": "nobody", "ControlGroup": ""}
            return 0, next((value for name, value in values.items() if f"property={name}" in line), "")
        return 0, ""

    def verbs(self) -> list[str]:
        return [line.split()[1] if line.startswith("systemctl") else line.split()[0] for line in self.said]


def places(tmp_path: Path) -> dict[str, str]:
    return {"place": str(tmp_path / "offline"), "drop_ins": str(tmp_path / "system")}


def test_the_drop_in_is_written_and_removed(tmp_path: Path) -> None:
    systemd = Systemd()
    file = tmp_path / "system" / f"{NAME}.d" / offline.DROP_IN
    with offline.led_astray(Unit(NAME, runner=systemd.run), DeadEnd(), 60, runner=systemd.run, **places(tmp_path)):
        # The timer is armed before anything changes: whoever is cut off here leaves it to systemd.
        assert systemd.verbs() == ["stop", "systemd-run", "daemon-reload", "restart"]
        armed = systemd.said[1]
        assert "--on-active=60" in armed
        assert f"rm -rf {file} {tmp_path}/offline; systemctl daemon-reload; systemctl try-restart {NAME}" in armed
        assert (tmp_path / "offline/resolv.conf").read_text().startswith(f"nameserver {offline.ADDRESS}\n")
        text = file.read_text()
        assert f"BindReadOnlyPaths={tmp_path}/offline/resolv.conf:/etc/resolv.conf" in text
        assert oct(file.stat().st_mode)[-3:] == "644"
    assert systemd.verbs()[4:] == ["daemon-reload", "restart", "stop"]
    assert not file.parent.exists()
    assert not (tmp_path / "offline").exists()


def test_the_service_is_restored_after_an_error(tmp_path: Path) -> None:
    systemd = Systemd()
    other = tmp_path / "system" / f"{NAME}.d" / "operator.conf"
    other.parent.mkdir(parents=True)
    other.write_text("[Service]\n")
    with (
        pytest.raises(RuntimeError, match="cut"),
        offline.led_astray(Unit(NAME, runner=systemd.run), DeadEnd(), 60, runner=systemd.run, **places(tmp_path)),
    ):
        raise RuntimeError("cut")
    assert systemd.verbs()[-3:] == ["daemon-reload", "restart", "stop"]
    assert list(other.parent.iterdir()) == [other]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_service_is_restored_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    systemd = Systemd()
    before = signal.getsignal(number)

    def ended() -> None:
        with offline.led_astray(Unit(NAME, runner=systemd.run), DeadEnd(), 60, runner=systemd.run, **places(tmp_path)):
            os.kill(os.getpid(), number)
            time.sleep(5)

    with pytest.raises(SystemExit):
        ended()
    assert systemd.verbs()[-3:] == ["daemon-reload", "restart", "stop"]
    assert not (tmp_path / "offline").exists()
    assert signal.getsignal(number) == before


def test_nothing_changes_without_the_timer(tmp_path: Path) -> None:
    systemd = Systemd(**{"systemd-run": lambda: (1, "no")})
    with (
        pytest.raises(SystemdError, match="systemd-run failed"),
        offline.led_astray(Unit(NAME, runner=systemd.run), DeadEnd(), 60, runner=systemd.run, **places(tmp_path)),
    ):
        pytest.fail("it went in")
    assert systemd.verbs() == ["stop", "systemd-run"]
    assert list(tmp_path.iterdir()) == []


def test_the_drop_in_redirects_names_and_http(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("")
    opened = DeadEnd()
    opened.proxy_port = 4321
    lines = offline.drop_in(opened, "/run/x", str(tmp_path)).splitlines()
    assert "UnsetEnvironment=" in lines  # the unit unsets the proxies' variables
    assert "Environment=HTTPS_PROXY=http://127.0.53.77:4321" in lines
    assert "Environment=http_proxy=http://127.0.53.77:4321" in lines
    assert f"BindReadOnlyPaths=/run/x/resolv.conf:{tmp_path}/resolv.conf" in lines
    assert not any("nsswitch" in line for line in lines)  # the host has none, and gets none


def test_only_the_name_server_resolves_names() -> None:
    text = "passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n"
    assert offline.nsswitch(text) == "passwd: files systemd\nhosts: files myhostname dns\n"
    assert offline.nsswitch("hosts: files\n") == "hosts: files dns\n"


# --- the check as a whole


def astray(during: Callable[[DeadEnd], None] = lambda _opened: None) -> Any:
    @contextmanager
    def way(_unit: Unit, opened: DeadEnd, _seconds: float) -> Iterator[None]:
        during(opened)
        yield

    return way


def check(proc: Path, way: Any, spoken: Callable[[], float] = lambda: 0.4, systemd: Systemd | None = None) -> Any:
    systemd = systemd or Systemd()
    opened = DeadEnd("127.0.0.1", 0)
    facts, findings = offline.prove(Unit(NAME, runner=systemd.run), spoken, 60, opened, str(proc), way)
    assert opened._sockets == []
    return facts, {finding.name: finding for finding in findings}


def seen(findings: dict[str, Finding]) -> dict[str, bool | None]:
    return {name: finding.ok for name, finding in findings.items()}


def test_a_service_without_contacts_passes(proc: Path) -> None:
    (proc / "net/snmp").write_text("Ip: OutNoRoutes\nIp: 7\n")
    facts, findings = check(proc, astray(lambda _opened: time.sleep(0.2)))
    assert seen(findings) == {"spoke": True, "names": True, "proxied": True, "sockets": True, "without_route": True}
    assert facts["looks"] >= 2
    assert (facts["names"], facts["proxied"], facts["sockets"], facts["without_route"]) == ({}, {}, [], 0)
    assert {finding.level for finding in findings.values()} == {"offline"}


def test_every_contact_is_found(proc: Path) -> None:
    (proc / "net/snmp").write_text("Ip: OutNoRoutes\nIp: 7\n")

    def reaches_out(opened: DeadEnd) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(question("huggingface.co"), ("127.0.0.1", opened.name_port))
            client.recv(512)
        request = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": f"http://127.0.0.1:{opened.proxy_port}"})
        )
        with pytest.raises(urllib.error.URLError):
            request.open("https://pypi.org/", timeout=5)
        add(proc, "tcp", row("0500000A:8001", "010200C0:01BB", "02", 65534, 20))
        time.sleep(0.2)
        (proc / "net/snmp").write_text("Ip: OutNoRoutes\nIp: 9\n")

    _facts, findings = check(proc, astray(reaches_out))
    assert seen(findings) == {"spoke": True, "names": False, "proxied": False, "sockets": False, "without_route": None}
    assert "huggingface.co A" in findings["names"].sentence
    assert "pypi.org:443" in findings["proxied"].sentence
    assert "tcp 192.0.2.1:443 SYN_SENT" in findings["sockets"].sentence
    assert "2 packets of this host had no route" in findings["without_route"].sentence


def test_the_kernels_count_is_ignored_with_a_default_route(proc: Path) -> None:
    (proc / "net/snmp").write_text("Ip: OutNoRoutes\nIp: 7\n")
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
    (proc / "net/route").write_text(head + "eth0 00000000 0100000A 0003 0 0 0 00000000\n")
    assert "without_route" not in check(proc, astray())[1]


def test_a_service_that_does_not_speak_is_a_failure(proc: Path) -> None:
    def spoken() -> float:
        raise SpeechError("loading", "the model is not ready")

    _facts, findings = check(proc, astray(), spoken)
    assert seen(findings)["spoke"] is False
    assert seen(findings)["restored"] is False
    assert "does not speak: the model is not ready" in findings["restored"].sentence


def test_a_failed_restart_is_a_failure(proc: Path) -> None:
    @contextmanager
    def way(_unit: Unit, _opened: DeadEnd, seconds: float) -> Iterator[None]:
        if seconds:
            raise SystemdError("restart failed")
        yield

    systemd = Systemd()
    assert seen(check(proc, way, systemd=systemd)[1]) == {"watched": None}

    @contextmanager
    def dies(unit: Unit, opened: DeadEnd, seconds: float) -> Iterator[None]:
        systemd.active = "failed"
        with way(unit, opened, seconds):
            yield

    assert seen(check(proc, dies, systemd=systemd)[1]) == {"restored": False, "watched": None}


def test_a_service_that_cannot_be_watched_is_not_restarted(proc: Path, dead_end: DeadEnd) -> None:
    systemd = Systemd()
    systemd.active = "inactive"
    _facts, findings = check(proc, astray(lambda _opened: pytest.fail("restarted")), systemd=systemd)
    assert seen(findings) == {"watched": None}
    assert "does not run on this host" in findings["watched"].sentence
    taken = DeadEnd("127.0.0.1", dead_end.name_port)
    unit = Unit(NAME, runner=Systemd().run)
    _facts, [finding] = offline.prove(unit, lambda: 0.1, 60, taken, str(proc), astray(lambda _o: pytest.fail("x")))
    assert finding.ok is None
    assert "cannot listen" in finding.sentence


def test_unreadable_tables_are_unverified(proc: Path) -> None:
    (proc / "net/tcp").write_text(HEAD + row("broken", "address", "01", 65534, 5))
    _facts, findings = check(proc, astray(lambda _opened: time.sleep(0.1)))
    assert seen(findings)["sockets"] is None
    assert "could not be read" in findings["sockets"].sentence
