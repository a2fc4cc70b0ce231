# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what the doctor needs from a host, whatever is broken there. Nothing is changed.

Each part is read separately. A part that cannot be read is reported with the reason, and the others are still read.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import socket
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..doctor import diagnosis
from ..host import deploy_lock, gpu_facts, layout, private_files, redaction, systemd_unit
from ..host.reading import Reading
from ..proof import proof, speech
from ..release import ledger, release
from ..xinference import (
    accounts as xinference_accounts,
    api as xinference_api,
    config as xinference_config,
    launch as xinference_launch,
)
from . import host_facts, support

Json = dict[str, Any]

_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,NRestarts,Result,ExecMainStatus,MainPID,"
    "ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic,MemoryCurrent,MemoryMax,ControlGroup,User"
)
_PROXY = re.compile(r"(https?|all|ftp)_proxy\Z", re.IGNORECASE)
_OOM = re.compile(r"Out of memory: Killed process|Memory cgroup out of memory|oom-kill:")
DAY = 86400
BEFORE = 600  # seconds to read before the last start or end of a service that does not serve
PEER_SECONDS = 5  # to connect to another host
LOG_BYTES = 1 << 20  # of the journal and of Xinference's log, from the end


@dataclass
class Options:
    """Where the service of the host is.

    The host asks the API at ``host`` and ``port``. ``own_port`` is the port on which the host itself listens. The
    service of another host is at ``peer_host``, if that is not empty.
    """

    root: str = layout.ROOT
    home: str = layout.HOME
    secrets_dir: str = layout.SECRETS
    unit: str = layout.UNIT
    host: str = "127.0.0.1"
    port: int = 9997
    own_port: int = 9997
    model: str = "kokoro"
    receipts: str = layout.RECEIPTS
    speak: bool = True
    timeout: float = 60.0
    peer_host: str = ""
    peer_port: int = 0

    @property
    def paths(self) -> layout.Paths:
        return layout.Paths(self.root)

    def key(self) -> str:
        """The client's key, or "" if there is none. Raises OSError."""
        return (private_files.read_text(os.path.join(self.secrets_dir, xinference_config.KEY_FILE)) or "").strip()


def gather(options: Options, run: systemd_unit.Runner = systemd_unit.run, proc: str = "/proc") -> Json:
    """All facts for the doctor, JSON-ready. ``errors`` names the parts that could not be read, and why."""
    reading = Reading()
    facts, part = reading.found, reading.part
    part("platform", lambda: {**host_facts.gather(options.root, options.home), "gpu": gpu_facts.gather()})
    part("unit", lambda: unit_state(options, run, proc))
    part("processes", lambda: processes(options.unit, proc))
    part("oom", lambda: oom(options, facts.get("unit", {}), run))
    part("port", lambda: port(options, facts.get("processes", []), proc))
    part("files", lambda: files(options, facts.get("unit", {})))
    part("release", lambda: releases(options))
    part("proxies", lambda: proxies(options, facts.get("processes", []), proc))
    part("lock", lock)
    part("receipt", lambda: receipt(options))
    part("api", lambda: api(options))
    part("speech", lambda: spoken(options, facts))
    part("peer", lambda: peer(options))
    part("logs", lambda: logs(options, facts, run))
    # These facts contain log lines, which end in terminals, reports and bundles.
    redacted: Json = redaction.Redactor(support.secrets_of(options.secrets_dir)).all(
        {**facts, "errors": reading.errors}
    )
    return redacted


def unit_state(options: Options, run: systemd_unit.Runner, proc: str = "/proc") -> Json:
    """The state of the unit.

    Besides systemd's properties, ``age`` is the seconds since it became active. ``turned`` is the seconds since it last
    became active or ended. ``stale`` says why its process does not match what is on disk.
    """
    status, output = run(["systemctl", "show", options.unit, "--property=" + _PROPERTIES], 30)
    if status != 0:
        raise OSError(f"systemctl says: {output}")
    state: Json = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    entered, ended = (int(state.get(f"{name}EnterTimestampMonotonic") or 0) / 1e6 for name in ("Active", "Inactive"))
    state["age"] = round(now - entered, 1) if entered else None
    state["turned"] = round(now - max(entered, ended), 1) if entered or ended else None
    unit = systemd_unit.Unit(options.unit, runner=run)
    state["foreign"] = unit.foreign()
    text = private_files.read_text(unit.path)
    state["release"] = None
    if text is not None:
        started = re.search(r"^ExecStart=\S*/releases/([^/]+)/\S*/xinference-(\w+)", text, re.MULTILINE)
        state["release"] = started[1] if started else None
        state["node"] = started[2] if started else None
    record = systemd_unit.load_record(os.path.join(options.secrets_dir, layout.STARTED_FILE))
    state["stale"] = []
    if record and state.get("ActiveState") == "active" and text is not None:
        known = [path for path in record if path != "unit"]
        there = systemd_unit.fingerprint(text, [*known, *(p for p in unit.drop_ins() if p not in known)])
        state["stale"] = systemd_unit.restart_reasons(there, record)
    return state


def processes(unit: str, proc: str = "/proc") -> list[Json]:
    """The unit's processes, largest first: ``{"pid", "name", "rss", "peak"}``, with sizes in bytes."""
    found = []
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            groups = private_files.read_text(os.path.join(proc, pid, "cgroup")) or ""
            if not re.search(rf"/{re.escape(unit)}(/|$)", groups, re.MULTILINE):
                continue
            status = private_files.read_text(os.path.join(proc, pid, "status")) or ""
            sizes = {m[1]: int(m[2]) * 1024 for m in re.finditer(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE)}
            command = (private_files.read_text(os.path.join(proc, pid, "cmdline")) or "").replace("\0", " ").strip()
            name = command if command.startswith("Model:") else os.path.basename(command.split(" ")[0])
            found.append({"pid": int(pid), "name": name, "rss": sizes.get("VmRSS", 0), "peak": sizes.get("VmHWM", 0)})
    return sorted(found, key=lambda item: -int(item["rss"]))


def oom(options: Options, unit: Mapping[str, str], run: systemd_unit.Runner) -> Json:
    """Processes that the kernel killed when memory ran out: its log lines of one day, and the unit's count."""
    command = ["journalctl", "--dmesg", "--boot", "--since", f"@{int(time.time()) - DAY}", "--lines", "20000"]
    status, output = run([*command, "--no-pager", "--quiet", "--output", "short-iso"], 20)
    lines = [line for line in output.splitlines() if _OOM.search(line)] if status == 0 else []
    group = unit.get("ControlGroup", "").lstrip("/")
    kills = 0
    for file in (f"/sys/fs/cgroup/{group}/memory.events", f"/sys/fs/cgroup/memory/{group}/memory.oom_control"):
        with contextlib.suppress(OSError):
            counted = re.search(r"^oom_kill (\d+)$", private_files.read_text(file) or "", re.MULTILINE)
            kills = max(kills, int(counted[1]) if counted and group else 0)
    return {"lines": [diagnosis.clean(line) for line in lines[-3:]], "kills": kills}


def port(options: Options, own: Sequence[Mapping[str, Any]], proc: str = "/proc") -> Json:
    """Who listens on the service's port, and whether that is a process of the unit (None if unknown)."""
    holder = systemd_unit.listener(options.own_port, proc)
    pid = re.match(r"\d+", holder or "")
    ours = int(pid[0]) in {item["pid"] for item in own} if pid else None
    return {"port": options.own_port, "holder": holder, "ours": ours}


def files(options: Options, unit: Mapping[str, Any]) -> list[Json]:
    """The files that must be closed to others or must agree: ``{"path", "wrong": str or None}``.

    A worker of a cluster has no accounts, so it has no databases.
    """
    names = (
        xinference_config.SECRETS_FILE,
        xinference_config.ENVIRONMENT_FILE,
        xinference_config.KEY_FILE,
        xinference_config.HEADER_FILE,
    )
    found = [{"path": options.secrets_dir, "wrong": private_files.wrong(options.secrets_dir, 0o700, folder=True)}]
    for name in names:
        path = os.path.join(options.secrets_dir, name)
        found.append({"path": path, "wrong": private_files.wrong(path, 0o600)})
    secrets_text = private_files.read_text(os.path.join(options.secrets_dir, xinference_config.SECRETS_FILE))
    with contextlib.suppress(xinference_config.ConfigError, KeyError):
        stored = xinference_config.load_secrets(secrets_text)
        for name, text in (xinference_config.files(stored) if stored else {}).items():
            path = os.path.join(options.secrets_dir, name)
            held = private_files.read_text(path)
            if name != xinference_config.SECRETS_FILE and held is not None and held != text:
                found.append({"path": path, "wrong": f"does not match {xinference_config.SECRETS_FILE}"})
    try:
        uid = pwd.getpwnam(unit.get("User", "")).pw_uid
    except KeyError:
        return found
    below = [((), 0o700, True), *(xinference_config.PRIVATE if unit.get("node") != "worker" else ())]
    for parts, mode, folder in below:
        path = os.path.join(options.home, *parts)
        found.append({"path": path, "wrong": private_files.wrong(path, mode, uid, None, folder)})
    return found


def releases(options: Options) -> Json:
    """The current release: whether it is complete and unchanged since its seal, and the path of espeak's data."""
    current = release.current(options.paths)
    found: Json = {"current": current, "sealed": False, "damage": [], "drift": {}, "espeak": None, "unpublished": {}}
    found["leftovers"] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(options.paths.releases))
        found["leftovers"] = [name for name in names if release.read(options.paths.release(name)) is None]
    if current is None:
        return found
    path = options.paths.release(current)
    contents = release.read(path)
    if contents is None:
        return found
    found["sealed"] = True
    found["voices"] = contents.get("voices", [])
    found["profile"] = contents.get("profile")
    wheels = [row for row in contents.get("artifacts", []) if row["kind"] == "wheel"]
    found["wheels"] = {row["name"]: row["version"] for row in wheels if re.match("torch$|nvidia-cuda", row["name"])}
    parts = ("path", "kind", "name", "version")
    found["components"] = [{part: row.get(part, "") for part in parts} for row in contents.get("artifacts", [])]
    found["manifest_sha256"] = contents.get("manifest_sha256")
    found["unpublished"] = contents.get("unpublished", {})
    found["damage"] = release.damage(path, contents)
    drift = release.drift(path)
    found["drift"] = drift.as_dict() if drift else {}
    for folder in glob.glob(os.path.join(glob.escape(path), "env/lib/python3*/site-packages/espeakng_loader")):
        found["espeak"] = os.path.join(os.path.realpath(folder), "espeak-ng-data")
    return found


def covered(no_proxy: str) -> bool:
    """Whether a ``no_proxy`` list has both names of this host that clients use."""
    entries = {entry.strip().lower() for entry in no_proxy.split(",")}
    return "*" in entries or {"localhost", "127.0.0.1"} <= entries


def judge_environment(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The proxy variables of an environment that apply to requests to this host's own service."""
    values = {name: value for name, value in pairs if value}
    exempt = values.get("no_proxy", values.get("NO_PROXY", ""))
    return sorted(name for name in values if _PROXY.match(name)) if not covered(exempt) else []


def parse_environment(text: str, separator: str = "\n") -> list[tuple[str, str]]:
    """Read the variables of an environment file or of /proc/PID/environ."""
    found = []
    for line in text.split(separator):
        name, sign, value = line.strip().partition("=")
        if sign:
            found.append((name.replace("export ", "").strip(), value.strip().strip("\"'")))
    return found


def proxies(options: Options, own: Sequence[Mapping[str, Any]], proc: str = "/proc") -> Json:
    """Names of proxy variables that apply to loopback, in the service and for clients on the host."""
    service: set[str] = set()
    for item in own:
        with contextlib.suppress(OSError):
            text = private_files.read_text(os.path.join(proc, str(item["pid"]), "environ")) or ""
            service.update(judge_environment(parse_environment(text, "\0")))
    clients: Json = {}
    for file in ("/etc/environment", *sorted(glob.glob("/etc/profile.d/*.sh"))):
        with contextlib.suppress(OSError):
            names = judge_environment(parse_environment(private_files.read_text(file) or ""))
            if names:
                clients[file] = names
    return {"service": sorted(service), "clients": clients}


def lock() -> Json | None:
    """The owner of the deploy lock and its age in seconds, or None if nobody holds it."""
    held = deploy_lock.look(deploy_lock.LOCK_FILE)
    if held is None:
        return None
    return {"owner": held["owner"], "age": round(max(0.0, deploy_lock.clock() - held["time"]), 1)}


def receipt(options: Options) -> Json | None:
    """The last receipt without its list of artifacts, or None if there is none."""
    receipts = ledger.read(options.receipts)
    return {key: value for key, value in receipts[-1].items() if key != "artifacts"} if receipts else None


def key_is_known(options: Options, key: str) -> bool | None:
    """Whether the service's database has this key, None if unknown. A wrong key would count towards a ban."""
    database = os.path.join(options.home, xinference_accounts.AUTH_DB)
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(database)}?mode=ro", uri=True, timeout=5)) as connection:
            rows = connection.execute("SELECT key_hash FROM api_keys WHERE enabled").fetchall()
    except sqlite3.Error:
        return None
    return (xinference_accounts.digest(key),) in rows


def api(options: Options) -> Json:
    """What the service answers at its own address, without a proxy.

    ``state`` is silent, foreign, no_key, wrong_key or banned, or the model's: absent, READY, ERROR, LOADING ...
    """
    client = xinference_api.XinferenceClient(
        xinference_api.base_url(options.host, options.port), timeout=min(10.0, options.timeout)
    )
    try:
        status = client.status(timeout=5.0)
    except xinference_api.ProtocolError as error:
        return {"state": "foreign", "error": str(error)}
    except xinference_api.XinferenceError as error:
        if 400 <= error.status < 500:  # Xinference has this page and requires no key for it
            return {"state": "foreign", "error": f"GET {client.base_url}/status is answered by HTTP {error.status}"}
        return {"state": "silent", "error": str(error)}
    key = options.key()
    found: Json = {"workers": len(status["workers"]), "uptime": status.get("uptime")}
    if not key:
        return {**found, "state": "no_key"}
    if key_is_known(options, key) is False:
        return {
            **found,
            "state": "wrong_key",
            "error": "the service's database does not have this key, so it was not sent",
        }
    client = xinference_api.XinferenceClient(client.base_url, token=key, timeout=min(10.0, options.timeout))
    try:
        instances = client.instances(options.model)
    except (xinference_api.Unauthorized, xinference_api.Forbidden) as error:
        return {**found, "state": "wrong_key", "error": str(error)}
    except xinference_api.Banned as error:
        return {**found, "state": "banned", "error": str(error)}
    except xinference_api.XinferenceError as error:
        return {**found, "state": "silent", "error": str(error)}
    if not instances:
        return {**found, "state": "absent"}
    return {**found, "state": instances[0].status, "error": "; ".join(instances[0].errors)}


def spoken(options: Options, facts: Mapping[str, Any]) -> Json | None:
    """Ask for one sentence by the first voice: level, seconds and what is wrong, or None if it was not asked."""
    voices = facts.get("release", {}).get("voices")
    if not options.speak or facts.get("api", {}).get("state") != xinference_api.READY or not voices:
        return None
    endpoint = xinference_api.base_url(options.host, options.port)
    client = speech.SpeechClient(endpoint, key=options.key(), timeout=options.timeout)
    wanted = proof.Wanted("doctor", options.model, [voices[0]], ["wav"])
    [sample], _answers = proof.prove(client, wanted)
    return {
        "voice": sample.voice,
        "level": sample.level,
        "seconds": sample.latency_seconds,
        "wrong": [finding.sentence for finding in sample.findings if finding.ok is False],
    }


def peer(options: Options) -> Json | None:
    """Whether the service of another host accepts a connection, or None if there is none. Nothing is sent."""
    if not options.peer_host:
        return None
    try:
        socket.create_connection((options.peer_host, options.peer_port), PEER_SECONDS).close()
    except OSError as error:
        return {"error": str(error) or type(error).__name__}
    return {"error": ""}


def logs(options: Options, facts: Mapping[str, Any], run: systemd_unit.Runner) -> Json:
    """Known failures in journal and log, since the service started. If it does not serve, also from before."""
    # A service that refuses our key may still serve others, so older failures explain nothing.
    serves = facts.get("api", {}).get("state") in (xinference_api.READY, "wrong_key", "no_key", "banned")
    age, turned = (facts.get("unit", {}).get(name) for name in ("age", "turned"))
    back = age + 1 if serves and age is not None else min(turned + BEFORE, DAY) if turned is not None else DAY
    since = time.time() - back
    command = ["journalctl", "--unit", options.unit, "--since", f"@{int(since)}", "--lines", "5000", "--no-pager"]
    status, output = run([*command, "--output", "cat", "--quiet"], 30)
    log = os.path.join(options.home, "logs", "xinference.log")
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    sources = {
        f"journalctl -u {options.unit}": output[-LOG_BYTES:].splitlines() if status == 0 else [],
        log: xinference_launch.log_lines(log, begin, LOG_BYTES),
    }
    found = [
        {"source": source, **item._asdict()} for source, lines in sources.items() for item in diagnosis.diagnose(lines)
    ]
    return {"serves": serves, "found": found, "last_faults": xinference_launch.log_faults(log, begin)}
