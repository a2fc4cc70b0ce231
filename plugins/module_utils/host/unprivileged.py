# SPDX-License-Identifier: GPL-3.0-or-later
"""Run code of a release without root rights."""

from __future__ import annotations

import os
import pwd
from typing import Any


def as_nobody() -> dict[str, Any]:
    """Arguments of ``subprocess.run`` that run a process as nobody if we are root. Otherwise empty."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
