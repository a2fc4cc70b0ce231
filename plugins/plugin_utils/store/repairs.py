# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the repairs of upstream files fit the files in a wheel."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...module_utils.host.hashing import sha256_bytes
from ...module_utils.release import patches
from ...module_utils.release.patches import Patch

# The largest file that a repair is for has 0.1 MB.
LARGEST = 4 << 20


@dataclass(frozen=True)
class Unfit:
    """A repair that does not fit. ``found`` is the file's digest, empty if the wheel has no such file."""

    patch: Patch
    found: str
    becomes: str

    @property
    def sentence(self) -> str:
        """What was found."""
        if not self.found:
            return f"{self.patch.name}: {self.patch.package} has no file {self.patch.file}"
        return (
            f"{self.patch.name}: {self.patch.file} has the sha256 {self.found} and would become {self.becomes}. Check"
            " whether upstream repaired it. If not, make the repair again and enter both digests"
        )


def unfit(wheel: Path | IO[bytes], package: str) -> list[Unfit]:
    """The repairs of a package that do not fit the files in its wheel. Raises BadZipFile, OSError."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for patch in patches.CATALOGUE.values():
            if patch.package != package:
                continue
            try:
                with archive.open(patch.file) as member:
                    data = member.read(LARGEST)
            except KeyError:
                found.append(Unfit(patch, "", ""))
                continue
            digests = sha256_bytes(data), sha256_bytes(patches.repair(patch, data))
            if digests != (patch.before, patch.after):
                found.append(Unfit(patch, *digests))
    return found


def meaning(found: Iterable[Unfit]) -> list[str]:
    """What it means that some repairs do not fit, and what to do."""
    chosen: list[Patch] = []
    needed: list[Patch] = []
    for each in found:
        (needed if each.patch.extra else chosen).append(each.patch)
    lines = [f"Without {patch.name}, this remains: {patch.reason}." for patch in chosen]
    if chosen:
        left = [name for name in patches.OPTIONAL if name not in {patch.name for patch in chosen}]
        lines.append(
            "A deploy refuses a repair that does not fit. While you deploy these locks, set "
            f"preflight_patches: [{', '.join(left)}]"
        )
    lines += [f"{NEEDED[patch.extra]}: {patch.reason}." for patch in needed]
    return lines


# What cannot be deployed if a repair of an extra does not fit.
NEEDED: Mapping[str, str] = {
    "japanese": "Japanese cannot be deployed with these locks (take j out of kokoro_languages)",
    "languages": "Only one language can be deployed with these locks (kokoro_languages)",
    "en_core_web_trf": "kokoro_english_model cannot be en_core_web_trf with these locks",
    "mandarin-1.1": "kokoro_mandarin_model cannot be v1.1-zh with these locks",
    "whisper-base": "xinference_hearing_model must be none with these locks",
}
