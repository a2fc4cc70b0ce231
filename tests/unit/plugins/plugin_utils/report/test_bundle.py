# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.state.support import MOST_BYTES
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import bundle


def test_the_files_of_all_hosts_become_one_archive_that_only_its_owner_can_read(tmp_path: Path) -> None:
    archive = tmp_path / "new" / "support.tar.gz"
    bundle.keep(archive, "speech-01", {"journal.txt": "all is well\n"}, {"findings": []})
    bundle.keep(archive, "../speech/02", {"../../evil": "x", "journal.txt": "too\n"}, {"findings": []})
    size = bundle.pack(archive, json.dumps({"status": 0}), ["2 hosts"])
    assert archive.stat().st_size == size
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert not bundle.parts(archive).exists()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "support.tar.gz"]
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        content = tar.extractfile("support/speech-01/journal.txt")
        assert content is not None
        assert content.read() == b"all is well\n"
    assert names[:2] == ["support/doctor.json", "support/doctor.txt"]
    assert sorted(names[2:]) == [
        f"support/{host}/{file}"
        for host in ("_speech_02-c3ac5c39", "speech-01")
        for file in ("doctor.json", "journal.txt")
    ]


def test_too_large_texts_of_a_host_are_cut(tmp_path: Path) -> None:
    archive = tmp_path / "support.tar.gz"
    bundle.keep(archive, "h", {"a.txt": "x" * (2 * MOST_BYTES), "b.txt": "y"}, {})
    folder = bundle.parts(archive) / "h"
    assert (folder / "a.txt").stat().st_size == MOST_BYTES
    assert (folder / "b.txt").stat().st_size == 0


def test_a_second_run_ignores_the_files_of_an_interrupted_one(tmp_path: Path) -> None:
    archive = tmp_path / "support.tar.gz"
    bundle.keep(archive, "h", {"old.txt": "x"}, {})
    bundle.keep(archive, "h", {"new.txt": "x"}, {})
    assert sorted(path.name for path in (bundle.parts(archive) / "h").iterdir()) == ["doctor.json", "new.txt"]
