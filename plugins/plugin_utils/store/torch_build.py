# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of GPUs that a wheel of torch has code for, read from the wheel."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

# The library that holds the answer of torch.cuda.get_arch_list() as one text, such as "sm_80 sm_90".
LIBRARY = "torch/lib/libtorch_python.so"
LARGEST = 512 << 20
_KINDS = re.compile(rb"\0((?:sm|compute)_\d{2,3}[af]?(?: (?:sm|compute)_\d{2,3}[af]?){0,63}) ?\0")


def compiled_in(wheel: Path) -> tuple[str, ...]:
    """The kinds of GPUs; empty if the wheel names none, or several lists. Raises BadZipFile, OSError."""
    with zipfile.ZipFile(wheel) as archive:
        try:
            with archive.open(LIBRARY) as member:
                data = member.read(LARGEST)
        except KeyError:
            return ()
    found = set(_KINDS.findall(data))
    return tuple(found.pop().decode().split()) if len(found) == 1 else ()
