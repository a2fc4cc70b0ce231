# SPDX-License-Identifier: GPL-3.0-or-later
"""rsync itself, over a stand-in for SSH that runs the other end here."""

from __future__ import annotations

import hashlib
import random
import shlex
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import rsync
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery.rsync import RsyncFailed

# What SSH does with a host and words: a shell there gets the words as one line.
HERE = ["sh", "-c", 'while [ "$1" != host.example ]; do shift; done; shift; exec sh -c "$*"', "quoted 'arguments'"]


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, Path]]:
    generator = random.Random(5)
    rows = []
    for number, size in enumerate((0, 10, 400_000)):
        data = generator.randbytes(size)
        path = tmp_path / "a store" / f"file {number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        rows.append((hashlib.sha256(data).hexdigest(), path))
    return rows


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "in coming"
    folder.mkdir()
    return folder


def send(files: list[tuple[str, Path]], incoming: Path, scratch: Path, become: str = "") -> tuple[int, int, list[int]]:
    told: list[int] = []
    target = rsync.destination("host.example", str(incoming))
    done = rsync.send(files, HERE, target, become, str(scratch), told.append)
    return done.moved, done.wire, told


@pytest.mark.parametrize("have", [0, 1, 100_000, 400_000])
def test_rsync_continues_after_the_bytes_that_arrived(
    files: list[tuple[str, Path]], incoming: Path, tmp_path: Path, have: int
) -> None:
    sha256, path = files[-1]
    if have:
        (incoming / f"{sha256}.part").write_bytes(path.read_bytes()[:have])
    moved, wire, told = send(files, incoming, tmp_path)
    assert moved == 400_010 - have
    assert moved < wire < moved + 2000
    assert all(0 <= figure <= 400_010 for figure in told)
    assert {part.name: part.read_bytes() for part in incoming.iterdir()} == {
        f"{sha256}.part": path.read_bytes() for sha256, path in files
    }


def test_rsync_becomes_root_by_the_given_command(files: list[tuple[str, Path]], incoming: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\necho "$1 $2 $3 $4" >{shlex.quote(str(log))}\nshift 3\nexec "$@"\n')
    sudo.chmod(0o755)
    send(files, incoming, tmp_path, f"{sudo} -n -u root")
    assert log.read_text() == "-n -u root rsync\n"


def test_a_failure_is_explained(files: list[tuple[str, Path]], incoming: Path, tmp_path: Path) -> None:
    with pytest.raises(RsyncFailed, match=r"the connection was cut \(.*a password is required") as caught:
        send(files, incoming, tmp_path, "sh -c 'echo sudo: a password is required >&2; exit 1'")
    assert (caught.value.status, caught.value.moved) == (12, 0)
    with pytest.raises(RsyncFailed, match="No such file or directory"):
        send(files, incoming / "missing" / "twice", tmp_path)
    files[0][1].unlink()
    with pytest.raises(FileNotFoundError, match="file 0"):
        send(files, incoming, tmp_path)


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert rsync.destination("fd00::1", "/opt/x") == "[fd00::1]:/opt/x/"


def test_rsync_leaves_no_files_behind(files: list[tuple[str, Path]], incoming: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    send(files, incoming, scratch)
    assert list(scratch.iterdir()) == []
