# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service contacts anything outside while it starts, loads its models and speaks for the first time.

For the check, the service restarts with a drop-in below ``/run``. The drop-in leads every usual way out to a dead end
on loopback, which notes who comes:

- Names: the service's ``/etc/resolv.conf`` names a server of ours, which answers that no name exists. It sees every
  client of the system's resolver. Ways around the resolver (systemd-resolved's socket, nscd) are closed.
- HTTP: the proxy variables name a listener of ours, which refuses. It sees every client that obeys these variables.
- Addresses: the kernel's socket tables are read every 50 ms. The unit's ``IPAddressDeny`` refuses nothing: it lets a
  connection wait (SYN_SENT) until its client gives up. A connection that ends between two looks is not seen.
- On a host without a default route, the kernel counts packets that have no route, but not who sent them.

One thing stays unseen on a host with a default route: a single UDP packet to an address without a name lookup. The
unit's own ``IPAddressDeny`` keeps it on the host.

Afterwards the drop-in is removed and the service restarts once more, so that it runs as before. A systemd timer does
the same if the check is interrupted, and a reboot empties ``/run``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Callable

from ..host import layout, private_files, systemd_unit
from ..host.systemd_unit import SystemdError, Unit
from .acoustics import Finding
from .speech import SpeechError

LEVEL = "offline"
# A loopback address of its own: a resolver may use 127.0.0.1:53.
ADDRESS = "127.0.53.77"
PLACE = layout.OFFLINE_PROOF
DROP_INS = "/run/systemd/system"
DROP_IN = "90-voicefleet-offline.conf"
TIMER = "voicefleet-offline-end"
LOOK_SECONDS = 0.05
RESTART_SECONDS = 180.0
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_STATES = {"01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECV"}
_TYPES = {1: "A", 28: "AAAA", 16: "TXT", 33: "SRV", 65: "HTTPS", 12: "PTR"}


def parse_question(packet: bytes) -> str | None:
    """Return name and type of a DNS question, such as ``huggingface.co A``, or None if it is not a question."""
    if len(packet) < 17 or packet[2] & 0x80 or struct.unpack_from(">H", packet, 4)[0] < 1:
        return None
    labels, at = [], 12
    while at < len(packet) and packet[at]:
        size = packet[at]
        if size > 63 or at + 1 + size >= len(packet):
            return None
        labels.append(packet[at + 1 : at + 1 + size].decode("ascii", "backslashreplace"))
        at += 1 + size
    if at + 5 > len(packet):
        return None
    kind = struct.unpack_from(">H", packet, at + 1)[0]
    return f"{'.'.join(labels) or '.'} {_TYPES.get(kind, f'TYPE{kind}')}"


def refusal(packet: bytes) -> bytes:
    """Return the answer to a DNS question: the name does not exist."""
    at = 12
    while at < len(packet) and packet[at]:
        at += 1 + packet[at]
    flags = 0x8183 | (packet[2] & 0x01) << 8
    return packet[:2] + struct.pack(">HHHHH", flags, 1, 0, 0, 0) + packet[12 : at + 5]


class DeadEnd:
    """A name server and an HTTP proxy on loopback that lead nowhere and note who came.

    ``names`` and ``visits`` count the requests. :meth:`start` raises OSError if a port is taken.
    """

    def __init__(self, address: str = ADDRESS, name_port: int = 53) -> None:
        self.address = address
        self.name_port = name_port
        self.proxy_port = 0
        self.names: Counter[str] = Counter()
        self.visits: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._ends = False

    def start(self) -> None:
        try:
            questions = self._open(socket.SOCK_DGRAM, self.name_port)
            self.name_port = questions.getsockname()[1]
            streams = self._open(socket.SOCK_STREAM, self.name_port)
            proxy = self._open(socket.SOCK_STREAM, 0)
        except OSError:
            self.stop()
            raise
        self.proxy_port = proxy.getsockname()[1]
        threading.Thread(target=self._datagrams, args=(questions,), daemon=True).start()
        for at, serve in ((streams, self._name_stream), (proxy, self._visit)):
            threading.Thread(target=self._accept, args=(at, serve), daemon=True).start()

    def stop(self) -> None:
        self._ends = True
        for opened in self._sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        self._sockets.clear()

    def _open(self, kind: int, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, kind)
        self._sockets.append(opened)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((self.address, port))
        if kind == socket.SOCK_STREAM:
            opened.listen(64)
        return opened

    def _note(self, kept: Counter[str], what: str) -> None:
        with self._lock:
            kept[what] += 1

    def _datagrams(self, at: socket.socket) -> None:
        while True:
            try:
                packet, sender = at.recvfrom(4096)
                if self._ends:  # the socket's end woke us, not a packet
                    return
                asked = parse_question(packet)
                self._note(self.names, asked or f"a malformed question ({len(packet)} bytes)")
                if asked:
                    at.sendto(refusal(packet), sender)
            except OSError:
                return

    @staticmethod
    def _accept(at: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        def guarded(visitor: socket.socket) -> None:
            with visitor, contextlib.suppress(OSError):
                visitor.settimeout(5)
                serve(visitor)

        while True:
            try:
                visitor, _sender = at.accept()
            except OSError:
                return
            threading.Thread(target=guarded, args=(visitor,), daemon=True).start()

    def _name_stream(self, visitor: socket.socket) -> None:
        packet = visitor.recv(4096)[2:]
        asked = parse_question(packet)
        self._note(self.names, asked or "a malformed question (TCP)")
        if asked:
            answer = refusal(packet)
            visitor.sendall(struct.pack(">H", len(answer)) + answer)

    def _visit(self, visitor: socket.socket) -> None:
        line = b""
        with contextlib.suppress(socket.timeout):
            line = visitor.recv(1024).split(b"\r\n", 1)[0]
        # Keep method and target; drop the query, which may hold a secret.
        said = re.sub(r"[?#\s].*|(?<=//)[^/\s]*@", "", line.decode("ascii", "replace").partition(" ")[2])
        self._note(self.visits, said or "a connection without a request")
        visitor.sendall(b"HTTP/1.1 502 Dead end\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def _endpoint(text: str) -> tuple[str, int]:
    """Return address and port of a table's column, ``0100007F:1F90``: 32-bit words in the machine's byte order."""
    address, port = text.split(":")
    raw = b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))
    found = ipaddress.ip_address(raw)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found), int(port, 16)


def outward(proc: str, user: int | None, processes: Collection[int]) -> set[str]:
    """Return sockets of a user or of some processes that lead, or try to lead, to an address outside.

    An example is ``tcp 192.0.2.1:443 SYN_SENT``. Incoming connections to a listening port do not count.
    """
    rows, listening = [], set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in (private_files.read_text(os.path.join(proc, "net", table)) or "").splitlines()[1:]:
            columns = line.split()
            if len(columns) < 10:
                continue
            if table[:3] == "tcp" and columns[3] == "0A":
                listening.add((table[:3], _endpoint(columns[1])[1]))
            elif not columns[2].startswith(("00000000:", "0" * 32)):
                rows.append((table[:3], columns))
    found, mine = set(), None
    for kind, columns in rows:
        address, port = _endpoint(columns[2])
        local = _endpoint(columns[1])[1]
        if ipaddress.ip_address(address).is_loopback or (kind, local) in listening or columns[9] == "0":
            continue
        if user is None or int(columns[7]) != user:
            mine = _inodes(proc, processes) if mine is None else mine
            if columns[9] not in mine:
                continue
        state = _STATES.get(columns[3], "") if kind == "tcp" else ""
        found.add(f"{kind} {f'[{address}]' if ':' in address else address}:{port} {state}".rstrip())
    return found


def _inodes(proc: str, processes: Collection[int]) -> set[str]:
    """Return the inodes of all sockets that some processes hold."""
    found = set()
    for pid in processes:
        folder = os.path.join(proc, str(pid), "fd")
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(folder):
                with contextlib.suppress(OSError):
                    target = os.readlink(os.path.join(folder, descriptor))
                    if target.startswith("socket:["):
                        found.add(target[8:-1])
    return found


def no_routes(proc: str) -> int | None:
    """Return how many packets had no route (IPv4 and IPv6, since the host's start), or None if nothing counts them."""
    total = None
    lines = [line.split() for line in (private_files.read_text(os.path.join(proc, "net/snmp")) or "").splitlines()]
    for names, values in zip(lines, lines[1:]):
        if names[:1] == values[:1] == ["Ip:"] and "OutNoRoutes" in names:
            total = int(values[names.index("OutNoRoutes")])
    for line in (private_files.read_text(os.path.join(proc, "net/snmp6")) or "").splitlines():
        if line.startswith("Ip6OutNoRoutes"):
            total = (total or 0) + int(line.split()[1])
    return total


def default_route(proc: str) -> bool:
    """Whether there is a default route."""
    four = (private_files.read_text(os.path.join(proc, "net/route")) or "").splitlines()[1:]
    six = (private_files.read_text(os.path.join(proc, "net/ipv6_route")) or "").splitlines()
    return any(line.split()[1:2] == ["00000000"] and line.split()[7:8] == ["00000000"] for line in four) or any(
        line.split()[:2] == ["0" * 32, "00"] and line.split()[-1] != "lo" for line in six
    )


class Watch:
    """Reads the socket tables until it is stopped. ``seen`` holds the sockets that led outside."""

    def __init__(self, unit: Unit, proc: str = "/proc", every: float = LOOK_SECONDS) -> None:
        self.seen: set[str] = set()
        self.looks = 0
        self.longest = 0.0  # seconds between two looks
        self.trouble = ""  # why a look failed
        self._unit, self._proc, self._every = unit, proc, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._user = self._user_of(unit)

    @staticmethod
    def _user_of(unit: Unit) -> int | None:
        try:
            number = pwd.getpwnam(unit.get("User")).pw_uid
        except KeyError:
            return None
        return number or None  # root's sockets are not only the service's

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        processes: list[int] = []
        asked, last = 0.0, time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now - asked > 0.5:  # asking systemd costs a process
                processes, asked = self._unit.processes(), now
            try:
                self.seen |= outward(self._proc, self._user, processes)
                self.looks += 1
            except (OSError, ValueError) as error:
                self.trouble = str(error)
            self.longest = max(self.longest, now - last)
            last = now
            self._stop.wait(self._every)


def drop_in(dead_end: DeadEnd, place: str = PLACE, etc: str = "/etc") -> str:
    """Return the text of the drop-in: proxies, and our files in place of the resolver's."""
    proxy = f"http://{dead_end.address}:{dead_end.proxy_port}"
    lines = [
        "# Of voicefleet.kokoro, for the minute of a check: every way out leads to a dead end that notes who came.",
        "[Service]",
        "UnsetEnvironment=",
        *(f"Environment={name}={proxy}" for variable in _PROXIES for name in (variable, variable.upper())),
        # Close the ways to resolve names without resolv.conf.
        "InaccessiblePaths=-/run/systemd/resolve/io.systemd.Resolve -/run/nscd",
    ]
    # Without this file the name server is 127.0.0.1, and systemd would create a file on the host to mount ours over.
    lines += [
        f"BindReadOnlyPaths={place}/{name}:{etc}/{name}"
        for name in ("resolv.conf", "nsswitch.conf")
        if os.path.exists(os.path.join(etc, name))
    ]
    return "\n".join(lines) + "\n"


def nsswitch(text: str) -> str:
    """Return the host's nsswitch.conf, limited to files and the name server for host names."""

    def hosts(line: str) -> str:
        kept = [word for word in line.split()[1:] if word in ("files", "myhostname")]
        return " ".join(["hosts:", *kept, "dns"])

    lines = text.splitlines()
    return "\n".join(hosts(line) if line.strip().startswith("hosts:") else line for line in lines) + "\n"


@contextmanager
def led_astray(
    unit: Unit,
    dead_end: DeadEnd,
    seconds: float,
    place: str = PLACE,
    drop_ins: str = DROP_INS,
    runner: systemd_unit.Runner = systemd_unit.run,
) -> Iterator[None]:
    """Keep the drop-in in place for the duration; a timer removes it if we cannot.

    Restart the service on entry and on exit, whatever happens in between. Raises SystemdError, OSError.
    """
    folder = os.path.join(drop_ins, unit.name + ".d")
    file = os.path.join(folder, DROP_IN)
    undo = f"rm -rf {file} {place}; systemctl daemon-reload; systemctl try-restart {unit.name}"
    runner(["systemctl", "stop", f"{TIMER}.timer"], 30)  # of a run that was interrupted
    armed = ["systemd-run", "--quiet", "--collect", f"--unit={TIMER}", f"--on-active={seconds:.0f}"]
    status, said = runner([*armed, "/bin/sh", "-c", undo], 30)
    if status != 0:
        raise SystemdError(f"systemd-run failed ({status}): {said}")
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for made in (place, folder):
            os.makedirs(made, mode=0o755, exist_ok=True)
        _write(os.path.join(place, "resolv.conf"), f"nameserver {dead_end.address}\noptions timeout:2 attempts:1\n")
        _write(os.path.join(place, "nsswitch.conf"), nsswitch(private_files.read_text("/etc/nsswitch.conf") or ""))
        _write(file, drop_in(dead_end, place))
        unit.ctl("daemon-reload")
        unit.ctl("restart", RESTART_SECONDS)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # the operator's own drop-ins may be there
        shutil.rmtree(place, ignore_errors=True)
        unit.ctl("daemon-reload")
        unit.ctl("restart", RESTART_SECONDS)
        runner(["systemctl", "stop", f"{TIMER}.timer"], 30)
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: Any) -> None:
    """On a lost connection or an ended play, leave by the path that restores everything."""
    raise SystemExit(128 + number)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
    os.chmod(path, 0o644)


def prove(
    unit: Unit,
    spoken: Callable[[], float],
    seconds: float,
    dead_end: DeadEnd | None = None,
    proc: str = "/proc",
    astray: Callable[[Unit, DeadEnd, float], Any] = led_astray,
) -> tuple[dict[str, Any], list[Finding]]:
    """Restart the service with all ways out closed, let it speak, and restore it.

    `spoken` waits until every model has spoken, and raises SpeechError if one has not. It is called twice and takes at
    most `seconds`. Return the facts and the findings.
    """
    if unit.show().get("ActiveState") != "active":
        return {}, [untried(f"{unit.name} does not run on this host, so its start cannot be watched.")]
    dead_end = dead_end or DeadEnd()
    try:
        dead_end.start()
    except OSError as error:
        return {}, [untried(f"The check's name server cannot listen on {dead_end.address}: {error.strerror}.")]
    watch, begin, before = Watch(unit, proc), time.monotonic(), no_routes(proc)
    findings: list[Finding] = []
    facts: dict[str, Any] = {"unit": unit.name}
    try:
        watch.start()
        with astray(unit, dead_end, seconds + 2 * RESTART_SECONDS):
            try:
                spoken()
                facts["seconds"] = round(time.monotonic() - begin, 1)
                said = f"{unit.name} was restarted and spoke after {facts['seconds']:.0f} s with every way out closed."
                findings.append(Finding("spoke", LEVEL, True, facts["seconds"], f"{seconds:.0f} s", said))
            except SpeechError as error:
                said = f"{unit.name} does not speak with every way out closed: {error}"
                findings.append(Finding("spoke", LEVEL, False, None, f"{seconds:.0f} s", said))
            watch.stop()
            after = no_routes(proc)
    except (SystemdError, OSError) as error:
        if unit.show().get("ActiveState") != "active":
            said = f"{unit.name} was restarted for the check and does not run now: {error}"
            findings.append(Finding("restored", LEVEL, False, None, "runs as before", said))
        return facts, [*findings, untried(f"{unit.name} could not be restarted for the check: {error}")]
    finally:
        watch.stop()
        dead_end.stop()
    facts.update(
        names=dict(dead_end.names),
        proxied=dict(dead_end.visits),
        sockets=sorted(watch.seen),
        looks=watch.looks,
        longest_gap_seconds=round(watch.longest, 3),
        not_looked=watch.trouble if watch.looks else watch.trouble or "no reading took place",
        without_route=None if before is None or after is None else after - before,
    )
    findings += judge(facts, default_route(proc))
    try:
        spoken()
    except SpeechError as error:
        said = f"{unit.name} was restored after the check but does not speak: {error}"
        findings.append(Finding("restored", LEVEL, False, None, "speaks again", said))
    return facts, findings


def untried(why: str) -> Finding:
    return Finding("watched", LEVEL, None, None, "no attempt to reach anything outside", why)


def judge(facts: dict[str, Any], routed: bool) -> list[Finding]:
    """Return the findings on what was seen; `routed` says whether the host has a default route."""

    def listed(kept: Any) -> str:
        return ", ".join(sorted(kept)[:10]) + (f" and {len(kept) - 10} more" if len(kept) > 10 else "")

    def look(name: str, ok: bool, count: int, limit: str, good: str, bad: str) -> None:
        found.append(Finding.of(name, LEVEL, ok, count, limit, good, bad))

    found: list[Finding] = []
    names, proxied, sockets = facts["names"], facts["proxied"], facts["sockets"]
    looks, gap, lost = facts["looks"], facts["longest_gap_seconds"], facts["without_route"]
    bad = f"The service looked up names: {listed(names)}."
    look("names", not names, sum(names.values()), "no name looked up", "The service looked up no name.", bad)
    good = "No client of the service contacted the proxy in its environment."
    bad = f"The service tried to contact by HTTP: {listed(proxied)}."
    look("proxied", not proxied, sum(proxied.values()), "no request to the proxy", good, bad)
    good = f"None of its sockets led outside in {looks} looks, at most {gap:.2f} s apart."
    bad = f"The service opened sockets to the outside: {listed(sockets)}."
    limit = "no socket that leads outside"
    if facts["not_looked"] and not sockets:
        said = f"The kernel's socket tables could not be read: {facts['not_looked']}."
        found.append(Finding("sockets", LEVEL, None, 0, limit, said))
    else:
        look("sockets", not sockets, len(sockets), limit, good, bad)
    if lost:
        said = (
            f"During the check, {lost} packets of this host had no route. The kernel does not say which process sent"
            " them. Stop other services that contact time or update servers, and check again."
        )
        found.append(Finding("without_route", LEVEL, None, lost, "0", said))
    elif lost == 0 and not routed:
        said = "The host has no default route, and the kernel counted no packet without a route."
        found.append(Finding("without_route", LEVEL, True, 0, "0", said))
    return found
