# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery: files arrive as they were, in messages of any size, from any offset."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import delivery

SIZES = (0, 1, 99, 100, 101, 1000)


def files(folder: Path) -> list[tuple[str, Path, int]]:
    generator = random.Random(1)
    rows = []
    for number, size in enumerate(SIZES):
        data = generator.randbytes(size)
        path = folder / f"file{number}"
        path.write_bytes(data)
        rows.append((hashlib.sha256(data).hexdigest(), path, size))
    return rows


def receive(folder: Path, data: bytes) -> subprocess.CompletedProcess[bytes]:
    command = delivery.receive_command(sys.executable, str(folder))
    return subprocess.run(["/bin/sh", "-c", command], input=data, capture_output=True, check=False)


@pytest.mark.parametrize("limit", [50, 100, 333, 10_000])
@pytest.mark.parametrize("have", [0, 1, 60])
def test_files_arrive_as_they_were_sent(tmp_path: Path, limit: int, have: int) -> None:
    rows = files(tmp_path)
    incoming = tmp_path / "in coming"
    incoming.mkdir()
    offsets = {}
    for sha256, path, size in rows:
        offsets[sha256] = min(have, size)
        if offsets[sha256]:
            (incoming / f"{sha256}.part").write_bytes(path.read_bytes()[: offsets[sha256]])
    for message in delivery.pieces(rows, offsets, limit):
        assert sum(piece.length for piece in message) <= limit
        assert receive(incoming, delivery.encode(message)).returncode == 0
    for sha256, path, _size in rows:
        assert (incoming / f"{sha256}.part").read_bytes() == path.read_bytes()


def test_a_cut_message_is_an_error_and_can_be_sent_again(tmp_path: Path) -> None:
    rows = files(tmp_path)[-1:]
    (message,) = delivery.pieces(rows, {}, 10_000)
    data = delivery.encode(message)
    cut = receive(tmp_path, data[:-10])
    assert cut.returncode != 0
    assert b"cut" in cut.stderr
    assert receive(tmp_path, data).returncode == 0
    assert (tmp_path / f"{rows[0][0]}.part").read_bytes() == rows[0][1].read_bytes()


def test_a_first_piece_replaces_an_older_attempt(tmp_path: Path) -> None:
    rows = files(tmp_path)[1:2]
    (tmp_path / f"{rows[0][0]}.part").write_bytes(b"longer than before")
    (message,) = delivery.pieces(rows, {}, 10_000)
    assert receive(tmp_path, delivery.encode(message)).returncode == 0
    assert (tmp_path / f"{rows[0][0]}.part").read_bytes() == rows[0][1].read_bytes()


def test_a_file_that_becomes_shorter_during_the_delivery_is_detected(tmp_path: Path) -> None:
    rows = files(tmp_path)[-1:]
    (message,) = delivery.pieces(rows, {}, 10_000)
    rows[0][1].write_bytes(b"short")
    with pytest.raises(ValueError, match="became shorter"):
        delivery.encode(message)
