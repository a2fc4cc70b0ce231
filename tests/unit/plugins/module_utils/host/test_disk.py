# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk is recognised by the error text, and the missing space is reported."""

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
def test_a_full_disk_is_reported_with_the_missing_space(tmp_path: Path, said: str) -> None:
    needed = disk.free(str(tmp_path)) + 5e9
    advice = disk.advice(said, str(tmp_path / "not/there/yet"), needed)
    assert f"The disk is full: the file system of {tmp_path}/not/there/yet has " in advice
    assert "about 5,0" in advice or "about 4,9" in advice  # other processes use the disk, too


def test_another_error_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    assert disk.advice(str(OSError(errno.EACCES, "Permission denied")), str(tmp_path), 1e18) == ""
    assert not disk.is_full("os error 289")


def test_a_disk_with_free_space_again_is_reported_as_such() -> None:
    assert disk.sentence("/x", 2e6, 1e6).endswith(
        "has 2 MB free, and 1 MB must still be written: this may not be enough."
        " Free some space, then run the play again."
    )


def test_gpu_code_compresses_badly() -> None:
    wheels = [
        ("torch", "1.2.3", 100),
        ("nvidia-cublas", "13.1.1.3", 100),
        ("torch", "1.2.3+cpu", 100),
        ("spacy", "3", 100),
    ]
    assert [disk.unpacked([wheel]) for wheel in wheels] == [220, 220, 420, 420]
