# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program of the proof in a release's Python: as the user nobody if we are root, and with a clean environment."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import tempfile
from typing import Any


class InterpreterError(Exception):
    """The program gave no answer. The text is the reason, without a full stop."""


def as_nobody() -> dict[str, Any]:
    """Return arguments for ``subprocess.run``: if we are root, run the process as the user nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def scratch() -> dict[str, str]:
    """Return the variable for temporary files: the caller's, unless nobody runs the program and may not write there.

    A container with a read-only root has no writable /tmp.
    """
    return {} if as_nobody() else {"TMPDIR": tempfile.gettempdir()}


def ask(python: str, program: str, request: Any, timeout: float, folder: str = "/", **environment: str) -> Any:
    """Give a program JSON on standard input, and return the JSON that it writes. Raises InterpreterError."""
    try:
        done = subprocess.run(
            [python, "-IB", "-c", program],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **scratch(), **environment},
            check=False,
            **as_nobody(),
        )
    except subprocess.TimeoutExpired:
        raise InterpreterError(f"it did not finish within {timeout:g} s") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise InterpreterError(str(error)) from None
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        raise InterpreterError(last or f"exit status {done.returncode}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise InterpreterError("its answer is not JSON") from None
