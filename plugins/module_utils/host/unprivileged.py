# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of a release is run by root for a proof: not as root."""

from __future__ import annotations

import os
import pwd
from typing import Any


def as_nobody() -> dict[str, Any]:
    """Arguments of ``subprocess.run`` that make the process one of the user nobody where we are root; else none."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
