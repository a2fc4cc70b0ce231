# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk is known by its error, and what is missing is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import disk


@pytest.mark.parametrize(
    "said",
    [
        str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        str(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))),
        "error: Failed to install: torch.whl\n  Caused by: No space left on device (os error 28)",
    ],
)
def test_a_full_disk_is_told_with_what_is_missing(tmp_path: Path, said: str) -> None:
    needed = disk.free(str(tmp_path)) + 5e9
    advice = disk.advice(said, str(tmp_path / "not/there/yet"), needed)
    assert f"The disk is full: the file system of {tmp_path}/not/there/yet has " in advice
    assert "about 5,0" in advice or "about 4,9" in advice  # the disk of the tests is in use


def test_another_error_is_not_taken_for_it(tmp_path: Path) -> None:
    assert disk.advice(str(OSError(errno.EACCES, "Permission denied")), str(tmp_path), 1e18) == ""
    assert not disk.is_full("os error 289")


def test_a_disk_that_became_empty_again_is_no_riddle() -> None:
    assert disk.sentence("/x", 2e6, 1e6).endswith(
        "has 2 MB free and 1 MB are to be written, which may not suffice. Free some, then run the play again."
    )


def test_machine_code_for_cards_packs_badly() -> None:
    wheels = [
        ("torch", "1.2.3", 100),
        ("nvidia-cublas", "13.1.1.3", 100),
        ("torch", "1.2.3+cpu", 100),
        ("spacy", "3", 100),
    ]
    assert [disk.unpacked([wheel]) for wheel in wheels] == [220, 220, 420, 420]
