# SPDX-License-Identifier: GPL-3.0-or-later
"""Run :mod:`xinference_accounts` as the service's user with a release's interpreter; secrets go by standard input."""

from __future__ import annotations

import json
import os
import pkgutil
import pwd
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ..host import ownership, private_files
from ..host.redaction import Redactor
from . import accounts as xinference_accounts, config

Json = dict[str, Any]

TIMEOUT = 120  # seconds; the import takes one or two, five on a cold disk
VERBS = {"observe": "read", "converge": "corrected", "keys": "corrected", "copy": "copied"}


class SetupError(Exception):
    """An error for the operator, without secrets."""


def program_source() -> str:
    """Return the source of :mod:`xinference_accounts`, wherever this module was unpacked or zipped."""
    source = pkgutil.get_data(__package__, "accounts.py")
    if not source:
        raise SetupError("the accounts program is missing: the collection is incomplete")
    return source.decode()


def account(user: str, check: bool) -> tuple[int, int] | None:
    """Return a user's uid and gid, or None in check mode if the user does not exist yet. Raises SetupError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if check:
            return None
        raise SetupError(f"there is no user {user}; create it first") from None
    return entry.pw_uid, entry.pw_gid


def has_databases(home: str) -> bool:
    """Whether a service with this home was ever set up or started."""
    databases = (xinference_accounts.AUTH_DB, xinference_accounts.LAUNCH_DB)
    return any(os.path.exists(os.path.join(home, name)) for name in databases)


def run(request: Json, release_path: str, user: str, owner: tuple[int, int], secrets: Iterable[str]) -> Json:
    """Return the answer of :mod:`xinference_accounts` to one request. Raises SetupError, without any secret in it."""
    home: str = request["home"]
    python = os.path.join(release_path, "env", "bin", "python")
    if not os.path.exists(python):
        if request["action"] != "observe":
            raise SetupError(f"{python} is missing: the release has no environment. Build it first")
        python = sys.executable  # any Python can observe
    as_user: Json = {}
    if (os.geteuid(), os.getegid()) != owner:
        as_user = {"user": owner[0], "group": owner[1], "extra_groups": []}
    try:
        done = subprocess.run(
            # -I: no code from the folder, the environment or a user's packages.
            [python, "-I", "-B", "-c", program_source()],
            input=json.dumps(request).encode("utf-8"),
            capture_output=True,
            cwd=home,
            umask=0o077,
            timeout=TIMEOUT,
            check=False,
            env={"HOME": home, "XINFERENCE_HOME": home, "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
            **as_user,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"{python} did not finish within {TIMEOUT} s. Is the disk or the host overloaded?") from None
    except OSError as error:
        raise SetupError(f"{python} cannot be run as {user}: {error}") from None
    try:
        reply: Json = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        reply = {"error": f"{python} ended with status {done.returncode}: " + " / ".join(lines)}
    if "error" in reply:
        raise SetupError(
            f"Xinference's databases in {home} cannot be {VERBS[request['action']]}: "
            + Redactor(secrets).known(str(reply["error"]))
            + ". If a database is damaged, stop the service. Restore auth/ and launch_history.db from a backup, or move"
            " them away: the next run then creates accounts, key and autostart again"
        )
    return reply


def correct(
    ask: Callable[[str, Json], Json],
    secrets: Mapping[str, str],
    names: config.Names,
    entries: list[Json],
    wanted: Json,
    done: list[str],
) -> Json:
    """Bring the databases to the wanted state, add what was done to ``done``, and return ``applied.json``.

    ``ask`` sends an action and its wanted state to the accounts program. Raises SetupError.
    """
    reply = ask("converge", wanted)
    done += reply["done"]
    observed = reply["observed"]
    applied = config.applied_state(observed, wanted)
    again = config.wanted_state(secrets, names, entries, observed, applied)
    left = config.differences(observed, again, applied)
    if left:
        raise SetupError("Xinference's databases were corrected but still differ: " + "; ".join(left))
    return applied


class Step:
    """What the modules for secrets and keys share: root-only files, the accounts program, and the list of changes.

    ``params`` are the module's options. In ``check`` mode, nothing is changed.
    """

    def __init__(self, params: Mapping[str, Any], check: bool) -> None:
        self.params = params
        self.check = check
        self.home: str = params["home"]
        self.changes: list[str] = []
        self.root = (os.geteuid(), os.getegid())

    def keep_folder(self, path: str) -> None:
        """Create or close a root-only folder of ours. Raises ForeignError."""
        why = ownership.keep(path, 0o700, self.root[0], check=self.check)
        if why is not None:
            self.changes.append(f"{path} made root-only ({why})")

    def keep_file(self, path: str, text: str) -> None:
        """Write a root-only file if content, owner or mode differ."""
        why = private_files.differs(path, text, 0o600)
        if why is None:
            return
        self.changes.append(f"{path} written ({why})")
        if not self.check:
            private_files.write_text(path, text, 0o600, *self.root)

    def record(self, path: str, value: Json) -> None:
        """Write a root-only JSON file that records what is known. This does not count as a change."""
        text = json.dumps(value, indent=2, sort_keys=True) + "\n"
        private_files.write_text(path, text, 0o600, *self.root)

    def ask(self, action: str, owner: tuple[int, int], secrets: Iterable[str], wanted: Json | None = None) -> Json:
        """Run the accounts program as the service's user and return its answer. Raises SetupError."""
        request = {"action": action, "home": self.home, **({} if wanted is None else {"wanted": wanted})}
        return run(request, self.params["release_path"], self.params["user"], owner, secrets)

    def result(self, unchanged: str) -> Json:
        """Return the common part of a module's result. ``unchanged`` is the message if nothing changed."""
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "msg": "; ".join(self.changes) or unchanged,
            "diff": {"before": "", "after": "".join(line + "\n" for line in self.changes)},
        }
