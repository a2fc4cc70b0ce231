# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of a delivery by swarm: start its peer, read its status, and take out what it received.

The peer is a systemd unit with a user of its own, which exists only while the unit runs. It can write one folder,
``artifacts/.swarm/own``, and reach its peers only. Nothing that it wrote is trusted: what it received goes to
``.incoming`` when it has ended, and is hashed there like every other delivery.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import os
import pkgutil
import platform
import re
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..host import layout, systemd_unit
from ..host.hashing import read_bounded, write_atomic
from ..host.layout import Paths
from . import artifacts as received, swarm_engine

# An abandoned peer ends after a day at the latest, and earlier if nobody needs it.
MOST_SECONDS = 86400
# How many bytes a status may have.
MOST_STATUS = 4 << 20
# A peer that systemd started again so often, and that wrote no status, will not run.
MOST_RESTARTS = 3
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")

UNIT_TEXT = """\
{marker}
# Receives artifacts by swarm while a play delivers them. The play removes it.
[Unit]
Description=voicefleet: artifacts by swarm

[Service]
Type=exec
DynamicUser=yes
User={user}
RuntimeDirectory={user}
ExecStartPre=+{python} -I -B {place}/engine.py own {place}/own /run/{user}
ExecStart={python} -I -B -W ignore {place}/engine.py run {place}/order.json
ReadWritePaths={place}/own
UMask=0022
Nice=5
Restart=on-failure
RestartSec=2
RuntimeMaxSec={most}
TimeoutStopSec=30
IPAddressDeny=any
IPAddressAllow={allow}
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
MemoryMax=1G
TasksMax=64
"""


class SwarmError(Exception):
    """The host cannot take part, with the reason."""


class Host:
    """A host's peer, its folders and its unit."""

    def __init__(self, root: str, unit: systemd_unit.Unit | None = None) -> None:
        self.root, self.paths = root, Paths(root)
        self.unit = unit or systemd_unit.Unit(layout.SWARM_UNIT)
        self.place = self.paths.swarm
        self.own = os.path.join(self.place, "own")
        self.files = os.path.join(self.own, swarm_engine.NAME)
        self.status_file = os.path.join(self.own, "status.json")

    def prepare(self, engines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Stop what an interrupted play left, and make the folders. Return which engine fits and is there.

        Raises ForeignError, OSError, SystemdError.
        """
        self.stop()
        received.make_folders(self.paths)
        os.makedirs(self.place, exist_ok=True)
        os.chmod(self.place, 0o755)
        absent = set(received.missing(self.root, list(engines)))
        return {
            "python": f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}",
            "absent": sorted(absent),
            "incoming": self.paths.incoming,
        }

    def join(
        self,
        engine: Mapping[str, Any],
        torrent: str,
        files: Sequence[Mapping[str, Any]],
        peers: Sequence[Any],
        port: int,
    ) -> list[str]:
        """Start the peer for the files of a torrent (base64). Return the digests that it is to receive.

        Raises SwarmError, OSError, SystemdError.
        """
        if self.unit.foreign():
            raise SwarmError(f"{self.unit.path} exists, and this collection did not write it")
        wheel = self._engine(engine)
        lacking = set(received.missing(self.root, files))
        self._lay_out(files, lacking)
        library = os.path.join(self.place, "engine")
        shutil.rmtree(library, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(library)
        _readable(library)
        texts = {
            "engine.py": pkgutil.get_data(__package__ or "", "swarm_engine.py") or b"",
            "store.torrent": base64.b64decode(torrent),
        }
        order = swarm_engine.order_of(
            os.path.join(self.place, "store.torrent"), self.own, self.status_file, port, peers,
            wanted=sorted(lacking), have=sorted({row["sha256"] for row in files} - lacking), library=library,
        )  # fmt: skip
        texts["order.json"] = json.dumps(order).encode()
        for name, text in texts.items():
            write_atomic(os.path.join(self.place, name), text, 0o644)
        write_atomic(self.unit.path, self.text(order["allow"]).encode(), 0o644)
        self.unit.ctl("daemon-reload")
        self.unit.ctl("restart")
        return sorted(lacking)

    def text(self, allow: Sequence[str]) -> str:
        """The unit. Only the addresses ``allow`` reach it, and it reaches no others."""
        listed = " ".join(str(ipaddress.ip_address(address)) for address in allow)
        return UNIT_TEXT.format(
            marker=systemd_unit.MARKER, user=layout.SWARM_USER, python=sys.executable, place=self.place,
            most=MOST_SECONDS, allow=listed,
        )  # fmt: skip

    def _engine(self, row: Mapping[str, Any]) -> str:
        """The path of the engine's wheel, verified. Raises SwarmError."""
        absent = received.missing(self.root, [row])
        if absent:
            _kept, wrong = received.commit(self.root, [row])
            if wrong:
                raise SwarmError(f"the engine {row['path']} {next(iter(wrong.values()))}")
        elif received.weed(self.root, [row]):
            raise SwarmError(f"the engine {row['path']} changed on the host and was removed")
        return self.paths.artifact(row["sha256"], row["path"])

    def _lay_out(self, files: Sequence[Mapping[str, Any]], lacking: set[str]) -> None:
        """Put what is there where the peer looks for it: links to artifacts, and files that arrived in part."""
        self._check_own()
        os.makedirs(self.files, mode=0o755, exist_ok=True)
        if os.path.lexists(self.status_file):
            _remove(self.status_file)
        for name in os.listdir(self.files):
            if name not in lacking or not _plain(os.path.join(self.files, name)):
                _remove(os.path.join(self.files, name))
        for row in files:
            target = os.path.join(self.files, row["sha256"])
            part = os.path.join(self.paths.incoming, row["sha256"] + ".part")
            if row["sha256"] not in lacking:
                os.symlink(self.paths.artifact(row["sha256"], row["path"]), target)
            elif not os.path.lexists(target) and os.path.exists(part) and os.stat(part).st_size <= row["size"]:
                os.chmod(part, 0o644)
                os.rename(part, target)

    def _check_own(self) -> None:
        """Remove the peer's folders if they are no folders: the peer could have replaced them."""
        for folder in (self.own, self.files):
            if os.path.lexists(folder) and (os.path.islink(folder) or not os.path.isdir(folder)):
                os.unlink(folder)

    def status(self) -> dict[str, Any]:
        """What the peer wrote last. Empty if it wrote nothing readable."""
        self._check_own()
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if _plain(self.status_file):
                found = json.loads(read_bounded(self.status_file, MOST_STATUS))
                if isinstance(found, dict):
                    return found
        return {}

    def wait(self, seconds: float) -> dict[str, Any]:
        """The status when everything is there, or after some seconds. ``active`` says whether the peer runs."""
        until = time.monotonic() + seconds
        while True:
            found = self.status()
            active = self.unit.get("ActiveState") in ("active", "activating", "deactivating") and not (
                not found and self._fails()
            )
            if found.get("finished") is True or not active or time.monotonic() >= until:
                break
            time.sleep(min(0.5, seconds))
        answer = {key: _number(found.get(key)) for key in ("have", "wanted", "down", "up", "peers", "failed")}
        said = str(found.get("error") or "") or ("" if active else " ".join(self.unit.journal(3)))
        return {
            **answer, "finished": found.get("finished") is True, "checking": found.get("checking") is True,
            "active": active, "error": said[:500],
        }  # fmt: skip

    def _fails(self) -> bool:
        """Whether systemd has started the peer again and again."""
        times = self.unit.get("NRestarts")
        return times.isdigit() and int(times) >= MOST_RESTARTS

    def stop(self) -> None:
        """End the peer and remove its unit. Raises SystemdError, OSError."""
        if not os.path.lexists(self.unit.path) or self.unit.foreign():
            return
        self.unit.ctl("stop", timeout=60)
        os.unlink(self.unit.path)
        self.unit.ctl("daemon-reload")

    def leave(self) -> dict[str, int]:
        """End the peer, move what it received to ``.incoming``, and remove its folder.

        Only the beginning of an incomplete file is kept: other transports continue at the end of a file.
        Raises OSError, SystemdError.
        """
        self.stop()
        answer = {"files": 0, "bytes": 0, "partial": 0}
        if not os.path.isdir(self.place):
            return answer
        status = self.status()
        complete, prefix = status.get("complete"), status.get("prefix")
        done = {name for name in complete if isinstance(name, str)} if isinstance(complete, list) else set()
        lengths = prefix if isinstance(prefix, dict) else {}
        for name in sorted(os.listdir(self.files)) if os.path.isdir(self.files) else []:
            file = os.path.join(self.files, name)
            if not _DIGEST.match(name) or not _plain(file):
                continue
            size = os.lstat(file).st_size
            length = size if name in done else min(size, _number(lengths.get(name)))
            if not length:
                continue
            _take(file, length)
            os.makedirs(self.paths.incoming, mode=0o700, exist_ok=True)
            os.rename(file, os.path.join(self.paths.incoming, name + ".part"))
            answer["files" if name in done else "partial"] += 1
            answer["bytes"] += length
        shutil.rmtree(self.place)
        return answer


def left_over(root: str) -> bool:
    """Whether an interrupted play left a peer or its folder."""
    return os.path.isdir(Paths(root).swarm)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def _plain(path: str) -> bool:
    """Whether a path is a file of its own: no link, no device, and under no other name."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _take(path: str, length: int) -> None:
    """Give a file to this process's user, with the given length."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.ftruncate(descriptor, length)
        os.fchown(descriptor, os.geteuid(), os.getegid())
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _readable(folder: str) -> None:
    """Let the peer's user read a folder and run what is in it."""
    for place, _folders, names in os.walk(folder):
        os.chmod(place, 0o755)
        for name in names:
            os.chmod(os.path.join(place, name), 0o755 if ".so" in name else 0o644)
