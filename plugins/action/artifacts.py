# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliver what a host lacks: over Ansible's connection, by rsync over its SSH, or by HTTP."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import disk
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import http_fetch
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    diff,
    display,
    verified_digest,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import delivery, rsync, serve
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery.delivery import Stopped, Tally
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import manifest

# How often files with a wrong hash are sent before the delivery fails.
ROUNDS = 2
# A host that fetches reports its progress after so many seconds.
SLICE_SECONDS = 5.0
# How many slices in a row may bring less than this many bytes.
TRIES = 3
LEAST = 5000
# The role lets the swarm bring files first. What is left is pushed.
SWARM = ("swarm", "auto")
RESUME = "What arrived is kept: run the play again, and it continues there."

Rows = list[dict[str, Any]]


class ActionModule(ControllerAction):
    _requires_connection = True
    SETS = frozenset({"step", "seconds", "certificates"})

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.host = str(task_vars.get("inventory_hostname", "host"))
        self.task_vars = task_vars
        self.root = arguments["root"]
        self.store = Path(arguments["store"])
        self.manifest_sha256 = arguments["manifest_sha256"]
        self.by_swarm = arguments["transport"] in SWARM
        if arguments["chunk_mb"] < 1:
            raise self._fail(f"artifacts_chunk_mb is {arguments['chunk_mb']}: give 1 or more. Nothing was sent.")
        rows = {artifact["sha256"]: artifact for artifact in arguments["artifacts"]}
        source = self._source(arguments["transport"], arguments["http"])
        state = self._step("prepare", list(rows.values()))
        todo = [rows[sha256] for sha256 in state["missing"]]
        transport, become = self._choose(arguments["transport"], state, bool(todo))
        arrived = sum(state["offsets"].values()) if self.by_swarm else 0
        if arrived and self._all_there(todo, state):
            transport = "swarm"
        if todo:
            self._check_manifest()
        if todo and source is not None and source.url:
            self._check_server(source, arguments["manifest_sha256"])
        size = sum(row["size"] for row in todo)
        paths = sorted(row["path"] for row in todo)
        result: dict[str, Any] = {
            "changed": bool(todo),
            "transport": transport,
            "sent": paths,
            "bytes": size,
            "msg": f"{len(todo)} files, {size / 1e6:.1f} MB to send over {transport}" if todo else "nothing to send",
            "diff": diff((), (f"{row['size'] / 1e6:9.1f} MB  {row['path']}" for row in _in_order(todo))),
        }
        if not todo or self.check_mode:
            return result
        started = time.monotonic()
        tally = Tally()
        with self._carrier(transport, become, arguments, source) as carry:
            self._deliver(carry, todo, state, tally)
        seconds = max(time.monotonic() - started, 0.001)
        rate = tally.moved / seconds / 1e6
        words = f"{len(todo)} files, {tally.moved / 1e6:.1f} MB over {transport} in {seconds:.1f} s, {rate:.1f} MB/s"
        if arrived:
            words = f"{arrived / 1e6:.1f} MB by swarm; {words}"
        figures = {"bytes": tally.moved, "swarm_bytes": arrived, "wire_bytes": tally.wire, "seconds": round(seconds, 1)}
        return {**result, **figures, "mb_per_s": round(rate, 1), "msg": words}

    def _step(self, step: str, rows: Rows, **more: Any) -> dict[str, Any]:
        """One step of the module on the host, for some artifacts."""
        arguments = {"store": str(self.store), "root": self.root, "artifacts": rows, "step": step, **more}
        return self.module("voicefleet.kokoro.artifacts", arguments, self.task_vars)

    @staticmethod
    def _all_there(todo: Rows, state: dict[str, Any]) -> bool:
        """Whether everything arrived already and only has to be verified. Empty files do not travel by swarm."""
        return bool(todo) and all(0 < row["size"] == state["offsets"].get(row["sha256"]) for row in todo)

    def _fail(self, what: str) -> AnsibleActionFail:
        return AnsibleActionFail(f"{self.host}: {what}")

    # --- checks before anything is sent ---

    def _check_manifest(self) -> manifest.Manifest | None:
        """The store's manifest, if it is the plan's and the one that was verified in this run."""
        run = verified_digest(self.task_vars)
        verified = [digest for digest in (run, self.manifest_sha256) if digest]
        try:
            return manifest.read_verified(self.store, *verified)[0] if verified else None
        except manifest.ManifestError as error:
            raise self._fail(f"{error}. Nothing was sent.") from None

    def _source(self, transport: str, http: dict[str, Any]) -> http_fetch.Source | None:
        """The server to fetch from; None for a push. Its address is empty if the controller serves."""
        url, own = http.get("url") or "", http["serve"]
        if transport != "http":
            if url or own:
                raise self._fail(
                    f"artifacts_http_url and artifacts_http_serve need artifacts_transport: http, not {transport}. "
                    "Nothing was sent."
                )
            return None
        if bool(url) == own:
            raise self._fail(
                "artifacts_transport: http needs artifacts_http_url (your own server with the store's folder) or "
                f"artifacts_http_serve: true (a temporary server on the controller){', not both' if own else ''}. "
                "Nothing was sent."
            )
        ca = ""
        try:
            if http.get("ca"):
                ca = Path(http["ca"]).read_text(encoding="ascii")
            if url:
                url = http_fetch.check_url(url)
        except http_fetch.SourceError as error:
            raise self._fail(f"artifacts_http_url: {error}. Nothing was sent.") from None
        except (OSError, ValueError) as error:
            raise self._fail(
                f"artifacts_http_ca cannot be read as PEM certificates: {error}. Nothing was sent."
            ) from None
        return http_fetch.Source(url, http.get("user") or "", http.get("password") or "", ca)

    def _choose(self, wanted: str, state: dict[str, Any], needed: bool) -> tuple[str, str]:
        """The transport, and the command before rsync on the host. Fails if rsync is demanded but impossible."""
        if wanted in ("connection", "http"):
            return wanted, ""
        obstacle, become = self._rsync(state)
        if not obstacle:
            return "rsync", become
        if wanted == "rsync":
            raise self._fail(
                f"artifacts_transport: rsync is not possible: {obstacle}. Nothing was sent. With push, the default, "
                "such a host gets its files over the bare connection."
            )
        if needed and self._connection.transport == "ssh":
            display.display(f"  {self.host}: sending over the bare connection, because {obstacle}")
        return "connection", ""

    def _rsync(self, state: dict[str, Any]) -> tuple[str, str]:
        """Why rsync cannot be used, or an empty string; and the command before rsync that makes it root on the host."""
        if self._connection.transport != "ssh":
            return f"the connection is {self._connection.transport}, not ssh", ""
        if shutil.which("rsync") is None:
            return "rsync is not installed on the controller", ""
        if not state["rsync"]:
            return "rsync is not installed on the host", ""
        if self._connection.get_option("password"):
            return "SSH asks for a password, which rsync cannot give", ""
        become = self._connection.become
        if become is None or self.get_become_option("become_user") == self._get_remote_user():
            return "", ""
        if become.name != "sudo" or self.get_become_option("become_pass"):
            return f"becoming {self.get_become_option('become_user')} needs more than sudo without a password", ""
        words = [self.get_become_option("become_exe") or "sudo", "-n"]
        if user := self.get_become_option("become_user"):
            words += ["-u", shlex.quote(user)]
        return "", " ".join(words)

    def _check_server(self, source: http_fetch.Source, expected: str | None) -> None:
        """Compare the server's manifest with ours. If the controller cannot reach the server, the host asks it."""
        if expected is None:
            return
        try:
            try:
                found = http_fetch.manifest_digest(source)
            except http_fetch.Unreachable:
                answer = self._step("manifest", [], http=_for_host(source))
                if answer["error"]:
                    raise http_fetch.SourceError(
                        f"{answer['error']} (asked from the controller and from the host)"
                    ) from None
                found = answer["manifest_sha256"]
        except http_fetch.SourceError as error:
            raise self._fail(f"{error}. Nothing was sent.") from None
        if found != expected:
            raise self._fail(
                f"{source.url} serves another store: its manifest has sha256 {found[:12]}, that of {self.store} has "
                f"{expected[:12]}. Copy the store to the server again, or deploy from the served one. "
                "Nothing was sent."
            )

    def _check_room(self, left: int, free: int, so_far: str) -> None:
        if left > free:
            raise self._fail(f"{disk.sentence(self.root, free, left)} {so_far}")

    # --- the delivery ---

    def _deliver(self, carry: Callable[..., None], todo: Rows, state: dict[str, Any], tally: Tally) -> None:
        """Send files until the host has verified all of them, or some were wrong too often."""
        by_digest = {row["sha256"]: row for row in todo}
        wrong: dict[str, str] = {}
        for _round in range(ROUNDS):
            size, arrived = sum(row["size"] for row in todo), sum(state["offsets"].values())
            self._check_room(size - arrived, state["free"], "Nothing was sent.")
            progress = delivery.Progress(lambda line: display.display(f"  {self.host}: {line}"), size, arrived)
            try:
                if not (self.by_swarm and self._all_there(todo, state)):
                    carry(todo, state, progress, tally)
            except Stopped as error:
                raise self._explain(todo, str(error)) from None
            wrong = self._step("commit", todo)["wrong"]
            if not wrong:
                return
            for sha256, reason in sorted(wrong.items()):
                display.warning(f"{self.host}: {by_digest[sha256]['path']} {reason}")
            todo = [by_digest[sha256] for sha256 in wrong]
            state = self._step("prepare", todo)
        lines = "\n".join(f"  {by_digest[sha256]['path']}: {reason}" for sha256, reason in sorted(wrong.items()))
        raise self._fail(
            f"{len(wrong)} file(s) did not arrive intact in {ROUNDS} attempts:\n{lines}\n"
            "Something between the store and the host changes bytes: a disk, memory, or a device that inspects "
            "traffic. "
            "The files that arrived are kept; nothing was installed."
        )

    def _explain(self, todo: Rows, reason: str) -> AnsibleActionFail:
        """The error for a delivery that ended early: how much arrived, by the host's count, and why it ended."""
        size = sum(row["size"] for row in todo)
        try:
            state = self._step("prepare", todo)
        except AnsibleError:
            return self._fail(f"the delivery stopped: {reason}. The host no longer answers. {RESUME}")
        arrived = sum(state["offsets"].values())
        got = f"{arrived / 1e6:.1f} of {size / 1e6:.1f} MB"
        try:
            self._check_room(size - arrived, state["free"], f"{got} arrived. {RESUME}")
        except AnsibleActionFail as full:
            return full
        return self._fail(f"the delivery stopped after {got}: {reason}. {RESUME}")

    @contextlib.contextmanager
    def _carrier(
        self, transport: str, become: str, arguments: dict[str, Any], source: http_fetch.Source | None
    ) -> Iterator[Callable[..., None]]:
        """The function that sends files: ``(todo, state, progress, tally)``. It raises Stopped."""
        limit = arguments["chunk_mb"] << 20

        def push(*delivered: Any) -> None:
            self._send(limit, *delivered)

        def by_rsync(todo: Rows, state: dict[str, Any], progress: delivery.Progress, tally: Tally) -> None:
            try:
                self._send_by_rsync(become, todo, state, progress, tally)
            except rsync.RsyncFailed as error:
                # Another transport does not help if SSH failed, if rsync moved data, or if the disk is full.
                if arguments["transport"] == "rsync" or error.status == 255 or error.moved or "No space" in str(error):
                    raise
                display.warning(f"{self.host}: rsync failed: {error}. Sending over the bare connection instead")
                push(todo, self._step("prepare", todo), progress, tally)

        if source is None:
            yield by_rsync if transport == "rsync" else push
        elif source.url:
            yield lambda *delivered: self._fetch(source, *delivered)
        else:
            with self._served(arguments["http"]) as url:
                yield lambda *delivered: self._fetch(http_fetch.Source(url), *delivered)

    def _send(self, limit: int, todo: Rows, state: dict[str, Any], progress: delivery.Progress, tally: Tally) -> None:
        """Send files in messages over the connection."""
        files = [(row["sha256"], self.store / row["path"], row["size"]) for row in _in_order(todo)]
        command = delivery.receive_command(delivery.interpreter(self.task_vars), state["incoming"])
        moved = 0
        for message in delivery.pieces(files, state["offsets"], limit):
            try:
                data = delivery.encode(message)
            except (OSError, ValueError) as error:
                raise Stopped(f"the store changed under the delivery: {error}") from None
            try:
                result = self._low_level_execute_command(command, sudoable=True, in_data=data)
            except AnsibleConnectionFailure as error:
                raise Stopped(f"the connection was cut: {error}") from None
            tally.wire += len(command) + len(data)
            if result["rc"] != 0:
                words = (result.get("stderr") or result.get("stdout") or "").strip()[-500:]
                raise Stopped(words or f"the receiving end was stopped with status {result['rc']}")
            moved += sum(piece.length for piece in message)
            tally.moved += sum(piece.length for piece in message)
            progress(moved)

    def _send_by_rsync(
        self, become: str, todo: Rows, state: dict[str, Any], progress: delivery.Progress, tally: Tally
    ) -> None:
        """Send files by rsync over Ansible's own SSH command, with its options and its open connection."""
        # Ansible builds this command from a dozen settings. Nothing else gives the same one.
        command = self._connection._build_command(self._connection.get_option("ssh_executable"), "ssh")
        ssh = [word.decode() if isinstance(word, bytes) else word for word in command]
        files = [(row["sha256"], self.store / row["path"]) for row in todo]
        target = rsync.destination(self._connection.host, state["incoming"])
        offsets = state["offsets"]
        # In its progress rsync counts resumed files from their beginning, and complete files not at all.
        before = sum(offsets[row["sha256"]] for row in todo if offsets[row["sha256"]] < row["size"])

        def tell(figure: int) -> None:
            progress(max(0, figure - before))

        try:
            done = rsync.send(files, ssh, target, become, constants.DEFAULT_LOCAL_TMP, tell)
        except OSError as error:
            raise Stopped(f"rsync could not be started: {error}") from None
        tally.moved += done.moved
        tally.wire += done.wire

    def _fetch(
        self, source: http_fetch.Source, todo: Rows, _state: dict[str, Any], progress: delivery.Progress, tally: Tally
    ) -> None:
        """Let the host fetch files, a few seconds at a time."""
        moved = failures = 0
        refused: dict[str, str] = {}
        left = _in_order(todo)
        while left:
            try:
                answer = self._step("fetch", left, http=_for_host(source), seconds=SLICE_SECONDS)
            except AnsibleConnectionFailure as error:
                raise Stopped(f"the connection to the host was cut: {error}") from None
            except AnsibleActionFail as error:
                raise Stopped(str(error)) from None
            moved += answer["arrived"]
            tally.moved += answer["arrived"]
            tally.wire += answer["wire"]
            progress(moved)
            refused.update(answer["refused"])
            left = [row for row in left if row["sha256"] in answer["left"] and row["sha256"] not in refused]
            failures = failures + 1 if left and answer["arrived"] < LEAST and not answer["refused"] else 0
            if failures == TRIES:
                hint = "" if moved else " (does this host reach that address, and do firewalls let it through?)"
                reason = answer["error"] or f"fewer than {LEAST} bytes arrived in {SLICE_SECONDS:.0f} s"
                raise Stopped(f"fetching from {source.url}: {reason}{hint}")
            time.sleep(failures)
        if refused:
            lines = "".join(f"\n  {row['path']}: {refused[row['sha256']]}" for row in todo if row["sha256"] in refused)
            raise Stopped(f"{source.url} did not deliver {len(refused)} file(s):{lines}\n")

    @contextlib.contextmanager
    def _served(self, http: dict[str, Any]) -> Iterator[str]:
        """The address of the controller's temporary server, as this host reaches it."""
        address = http.get("address") or self._own_address()
        try:
            listed = self._check_manifest() or manifest.read_manifest(self.store)[0]
            files = {artifact.path: artifact.size for artifact in listed.artifacts}
            with contextlib.ExitStack() as stack:
                try:
                    port = stack.enter_context(
                        serve.shared_server(self.store.absolute(), files, http["bind"], http["port"])
                    )
                except (OSError, serve.ServeError) as error:
                    raise self._fail(
                        f"the temporary server did not start on the controller: {error} (artifacts_http_bind, "
                        "artifacts_http_port). Nothing was sent."
                    ) from None
                yield f"http://{f'[{address}]' if ':' in address else address}:{port}"
        except manifest.ManifestError as error:
            raise self._fail(f"{error}. Nothing was sent.") from None

    def _own_address(self) -> str:
        """The controller's address on the way to the host. Nothing is sent to find it."""
        try:
            family, kind, _protocol, _name, there = socket.getaddrinfo(
                self._play_context.remote_addr, 9, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind) as probe:
                probe.connect(there)
                return str(probe.getsockname()[0])
        except OSError as error:
            raise self._fail(
                f"the address at which this host reaches the controller could not be determined ({error}): set "
                "artifacts_http_address. Nothing was sent."
            ) from None


def _in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: str(row["path"]))


def _for_host(source: http_fetch.Source) -> dict[str, Any]:
    """A source as an argument of the module."""
    return {"url": source.url, "user": source.user, "password": source.password, "certificates": source.ca}
