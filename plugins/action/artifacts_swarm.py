# SPDX-License-Identifier: GPL-3.0-or-later
"""Lead a delivery by swarm: plan it once, let each host join, wait for it, and end it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import swarm_engine
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    cache_folder,
    display,
    verified_digest,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import delivery, swarm
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.preflight import row_of
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import manifest

# A host that waits reports its progress after so many seconds.
SLICE_SECONDS = 5.0
# Without a new byte for so long, a host stops waiting for its peers.
STALL_SECONDS = 60.0
# A host waits so long at most, and one second more for each LEAST bytes that it lacks. Its peers may be slow or lie.
WAIT_SECONDS = 900.0
LEAST = 200_000
# Bytes of the engine in one message.
MESSAGE = 4 << 20
REST = "What did not arrive by swarm is pushed."

Rows = list[dict[str, Any]]


class ActionModule(ControllerAction):
    _requires_connection = True
    SETS = frozenset({"step", "seconds", "engine", "torrent", "peers"})

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.host = str(task_vars.get("inventory_hostname", "host"))
        self.task_vars, self.arguments = task_vars, arguments
        self.store = Path(arguments["store"])
        self.folder = Path(arguments["folder"]) if arguments["folder"] else None
        state = arguments["state"]
        if state == "planned":
            return self._plan(arguments["transport"], arguments["port"], arguments["controller"] or "")
        if state == "joined":
            return self._join()
        if state == "waited":
            return self._wait()
        if state == "left":
            left = self._step("leave", [])
            words = f"{left['files']} files arrived by swarm, {left['partial']} in part, {left['bytes'] / 1e6:.1f} MB"
            return {"changed": left["changed"], "msg": words}
        return self._end()

    def _step(self, step: str, rows: Rows, **more: Any) -> dict[str, Any]:
        given = {name: self.arguments[name] for name in ("store", "manifest_sha256", "root", "port")}
        return self.module(
            "voicefleet.kokoro.artifacts_swarm", {**given, "artifacts": rows, "step": step, **more}, self.task_vars
        )

    # --- once, on the controller ---

    def _plan(self, transport: str, port: int, controller: str) -> dict[str, Any]:
        """Choose hosts and peers, make the torrent and start the controller's peer."""
        none = {"changed": False, "wanted": False, "folder": ""}
        if transport not in ("swarm", "auto"):
            return {**none, "msg": f"no swarm, because artifacts_transport is {transport}"}
        plans = self._plans()
        lacking = {name: self._missing(plan) for name, plan in plans.items()}
        lacking = {name: rows for name, rows in lacking.items() if rows}
        most = max((sum(row["size"] for row in rows) for rows in lacking.values()), default=0)
        if len(lacking) < 2 or not most:
            return {**none, "msg": f"no swarm: {len(lacking)} host of this batch lacks files"}
        if transport == "auto" and not swarm.is_worth(len(lacking), most):
            return {**none, "msg": f"no swarm: for {len(lacking)} hosts that lack {most / 1e6:.0f} MB, push is as fast"}
        try:
            return self._start(lacking, port, controller)
        except (swarm.SwarmError, swarm_engine.EngineError, manifest.ManifestError, OSError) as error:
            if transport == "auto":
                display.warning(f"no swarm: {error}. The files are pushed")
                return {**none, "msg": f"no swarm: {error}"}
            raise AnsibleActionFail(
                f"artifacts_transport: swarm is not possible: {error}. Nothing was sent. Push, the default, works"
                " without it."
            ) from None

    def _plans(self) -> dict[str, dict[str, Any]]:
        """The plans of the hosts of this batch that build a release from this store."""
        found = {}
        for name in self.task_vars["ansible_play_batch"]:
            plan = self.task_vars["hostvars"][name].get("voicefleet_plan")
            if (
                plan
                and not plan["release"]["complete"]
                and plan["manifest_sha256"] == self.arguments["manifest_sha256"]
            ):
                found[str(name)] = plan
        return found

    @staticmethod
    def _missing(plan: dict[str, Any]) -> Rows:
        absent = set(plan["missing"])
        return [row for row in plan["artifacts"] if row["sha256"] in absent and row["size"] > 0]

    def _engines(self) -> Rows:
        """The engines of the store. Raises ManifestError, SwarmError."""
        digests = [digest for digest in (verified_digest(self.task_vars), self.arguments["manifest_sha256"]) if digest]
        found = [row_of(row) for row in manifest.read_verified(self.store, *digests)[0].of_kind("engine")]
        if not found:
            raise swarm.SwarmError(swarm.NO_ENGINE)
        return found

    def _start(self, lacking: dict[str, Rows], port: int, controller: str) -> dict[str, Any]:
        engine = swarm.engine_for(swarm.tag(), self._engines())
        if engine is None:
            raise swarm.SwarmError(f"the store has no engine for the controller's Python ({swarm.tag()})")
        cache = cache_folder() / "swarm"
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        swarm.sweep(cache)
        library = swarm.unpack(self.store / engine["path"], engine["sha256"], cache)
        members = {name: swarm.Member(name, self._address(name), tuple(row["sha256"] for row in rows))
                   for name, rows in lacking.items()}  # fmt: skip
        swarm.check_addresses(members.values())
        first = next(iter(swarm.neighbours([swarm.CONTROLLER, *members])[swarm.CONTROLLER]))
        planned = swarm.Swarm(members, port, controller or swarm.own_address(members[first].address))
        rows = list({row["sha256"]: row for rows in lacking.values() for row in rows}.values())
        name = hashlib.sha256("".join(sorted(row["sha256"] for row in rows)).encode()).hexdigest()
        seed = swarm.Seed(cache / f"run-{name[:16]}-{os.getppid()}")
        rows = swarm.lay_out(rows, self.store, seed.folder)
        kept = cache / f"{name}.torrent"
        if not kept.exists():
            swarm.keep(kept, swarm.make_torrent(swarm_engine.load(str(library)), rows, seed.folder))
        shutil.copyfile(kept, seed.torrent)
        swarm_engine.write_json(
            str(seed.folder / "swarm.json"),
            {"peers": planned.peers(), "files": [row["sha256"] for row in rows], "size": sum(r["size"] for r in rows)},
        )
        seed.start(library, planned, os.getppid())
        words = f"{len(members)} hosts share {len(rows)} files, {sum(row['size'] for row in rows) / 1e6:.0f} MB"
        return {"changed": True, "wanted": True, "folder": str(seed.folder), "msg": words}

    def _address(self, name: str) -> str:
        """A host's address, as the other hosts reach it. Raises SwarmError."""
        given = self.task_vars["hostvars"][name]
        wanted = str(given.get("artifacts_swarm_address") or given.get("ansible_host") or name)
        return swarm.resolve(name, wanted)

    def _end(self) -> dict[str, Any]:
        if self.folder is None:
            return {"changed": False, "copies": 0.0, "msg": "there was no swarm"}
        size = self._swarm().get("size") or 0
        last = swarm.Seed(self.folder).stop()
        copies = round(int(last.get("up") or 0) / size, 2) if size else 0.0
        display.display(f"  The controller sent {copies} copies to the swarm")
        return {"changed": True, "copies": copies, "msg": f"the controller sent {copies} copies"}

    def _swarm(self) -> dict[str, Any]:
        """What the plan wrote. Empty if it is gone."""
        try:
            found: dict[str, Any] = json.loads((Path(self.arguments["folder"]) / "swarm.json").read_bytes())
        except (OSError, ValueError, TypeError):
            return {}
        return found

    # --- each host ---

    def _join(self) -> dict[str, Any]:
        """Start the host's peer. If that is impossible, warn: the host gets its files in another way."""
        try:
            return self._start_peer()
        except AnsibleConnectionFailure:
            raise
        except (AnsibleActionFail, swarm.SwarmError, manifest.ManifestError, OSError) as error:
            display.warning(f"{self.host}: it does not take part in the swarm: {error}. Its files are pushed")
            return {"changed": False, "joined": False, "msg": str(error)}

    def _start_peer(self) -> dict[str, Any]:
        shared, engines = self._swarm(), self._engines()
        peers = (shared.get("peers") or {}).get(self.host)
        if self.folder is None or not peers:
            return {"changed": False, "joined": False, "msg": "this host lacks nothing"}
        state = self._step("prepare", engines)
        engine = swarm.engine_for(state["python"], engines)
        if engine is None:
            raise swarm.SwarmError(f"the store has no engine for its Python ({state['python']})")
        if engine["sha256"] in state["absent"]:
            self._send_engine(engine, state["incoming"])
        files = set(shared["files"])
        rows = [row for row in self.arguments["artifacts"] if row["sha256"] in files]
        torrent = base64.b64encode((self.folder / "store.torrent").read_bytes()).decode()
        self._step("join", rows, engine=dict(engine), torrent=torrent, peers=peers)
        return {"changed": True, "joined": True, "msg": f"{len(rows)} files, {len(peers)} peers"}

    def _send_engine(self, engine: Any, incoming: str) -> None:
        """Send the engine's wheel over the connection. Raises SwarmError."""
        files = [(engine["sha256"], self.store / engine["path"], engine["size"])]
        command = delivery.receive_command(delivery.interpreter(self.task_vars), incoming)
        for message in delivery.pieces(files, {}, MESSAGE):
            done = self._low_level_execute_command(command, sudoable=True, in_data=delivery.encode(message))
            if done["rc"] != 0:
                raise swarm.SwarmError(f"the engine did not arrive: {(done.get('stderr') or '').strip()[-300:]}")

    def _wait(self) -> dict[str, Any]:
        """Report progress until the host has everything, or until nothing arrives any more."""
        progress = delivery.Progress(lambda line: display.display(f"  {self.host}: {line} by swarm"), 0, 0, every=0.0)
        best = -1
        began = moved = time.monotonic()
        while True:
            state = self._step("wait", [], seconds=SLICE_SECONDS)
            if state["finished"]:
                break
            progress.size = state["wanted"]
            progress(state["have"])
            now = time.monotonic()
            if state["have"] > best or state["checking"]:
                moved = now
            best = max(best, state["have"])
            late = now - began > WAIT_SECONDS + state["wanted"] / LEAST
            if not state["active"] or state["error"] or late or now - moved >= STALL_SECONDS:
                why = (
                    state["error"]
                    or (f"it took more than {now - began:.0f} s" if late else "")
                    or (
                        f"nothing arrived for {STALL_SECONDS:.0f} s from {state['peers']} peers. Firewalls must let TCP"
                        f" port {self.arguments['port']} through between the hosts, and from the controller"
                    )
                )
                display.warning(f"{self.host}: the swarm did not bring everything: {why}. {REST}")
                break
        words = f"{state['have'] / 1e6:.1f} of {state['wanted'] / 1e6:.1f} MB, {state['failed']} bytes refused"
        return {"changed": False, "complete": state["finished"], "bytes": state["down"], "msg": words}
