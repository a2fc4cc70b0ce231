# SPDX-License-Identifier: GPL-3.0-or-later
"""The layer of an image: the same files give the same bytes."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import bake

SOURCE = "NAMES = {'a', 'b', 'c'}\n\n\ndef f(x):\n    return x in ('one', 'two') or x in {'three', 'four', 'five'}\n"
SETTINGS = {
    "release": "/opt/voicefleet/releases/r", "command": ["/bin/true"], "home": "/var/lib/voicefleet/xinference",
    "model": "kokoro", "uids": {}, "language_models": {}, "transcriber": "",
    "launches": [{"model_uid": "kokoro", "model_name": "Kokoro-82M", "model_type": "audio", "lang_code": "a"}],
    "voices": ["af_heart"], "port": 9997, "unset": ["http_proxy"],
    "threads": ["OMP_NUM_THREADS"], "stop_seconds": 90, "ready_seconds": 180, "admin_user": "admin",
    "deploy_user": "voicefleet-deploy", "client_key_name": "voicefleet-client",
}  # fmt: skip


def tree(root: Path) -> tuple[Paths, dict[str, Any]]:
    """A small release, and its plan."""
    release = root / "releases" / "1-0123456789ab"
    site = release / "env" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    for number in range(20):
        (site / f"m{number}.py").write_text(SOURCE.replace("one", f"one{number}"))
    (site / "template.py").write_text("{{ this is no Python }}\n")
    (site / "__pycache__").mkdir()
    (site / "__pycache__" / "m1.cpython-399.pyc").write_text("old")
    (release / "env" / "link").symlink_to("lib")
    (root / "current").symlink_to("releases/1-0123456789ab")
    plan = {"release": {"path": str(release), "id": release.name}, "python": {"path": "/x", "artifact": None}}
    return Paths(str(root)), plan


def layer(root: Path, monkeypatch: pytest.MonkeyPatch, order: list[str]) -> bytes:
    paths, plan = tree(root)
    for name in order:
        (root / "releases" / "1-0123456789ab" / name).write_text(name)
    monkeypatch.setattr(bake.os, "cpu_count", lambda: len(order))
    bake.add_program(paths, SETTINGS)
    bake.compile_all(sys.executable, [plan["release"]["path"], str(root / "container")])
    monkeypatch.setattr(bake, "merged", lambda _file, line: line + "\n")
    target = io.BytesIO()
    request = {"time": 1_800_000_000, "user": {"name": "voicefleet", "id": 10001}, "home": "/var/lib/voicefleet"}
    bake.write_layer(target, paths, plan, request)
    return target.getvalue()


def test_the_same_files_give_the_same_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for order in (["x", "y"], ["y", "x"], ["x", "y", "x"]):
        # The paths are in the byte code, so both are built at the same place.
        made.append(layer(tmp_path / "root", monkeypatch, order))
        os.rename(tmp_path / "root", tmp_path / f"former-{len(made)}")
    assert len({hashlib.sha256(data).hexdigest() for data in made}) == 1
    with tarfile.open(fileobj=io.BytesIO(made[0])) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "cpython-399" in name]
    assert sum(name.endswith(".pyc") and "/site-packages/" in name for name in names) == 20
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 1_800_000_000)}
    kept = {member.name: member for member in members}
    assert kept["var/lib/voicefleet"].mode == 0o1777
    assert kept["etc/passwd"].size > 0
    assert not [m.name for m in members if m.mode & 0o022 and not m.issym() and m.name != "var/lib/voicefleet"]


def test_uvs_note_of_a_time_is_removed_with_its_row(tmp_path: Path) -> None:
    info = tmp_path / "kokoro-1.dist-info"
    info.mkdir()
    (info / "uv_cache.json").write_text('{"timestamp": 1}')
    (info / "RECORD").write_text("kokoro/a.py,sha256=x,1\nkokoro-1.dist-info/uv_cache.json,sha256=y,2\n")
    bake.forget_times(str(tmp_path))
    assert sorted(os.listdir(info)) == ["RECORD"]
    assert (info / "RECORD").read_text() == "kokoro/a.py,sha256=x,1\n"


def test_a_file_that_changed_after_the_verification_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "a").write_text("a")
    row = {"path": "a", "sha256": hashlib.sha256(b"a").hexdigest()}
    bake.hold([row], str(store), Paths(str(tmp_path / "root")))
    (store / "a").write_text("b")
    with pytest.raises(bake.BakeError, match="a of the store changed since the store was verified"):
        bake.hold([row], str(store), Paths(str(tmp_path / "other")))


@pytest.mark.parametrize("held", ["voicefleet:x:5:", "other:x:10001:"])
def test_an_account_of_the_base_is_never_replaced(tmp_path: Path, held: str) -> None:
    file = tmp_path / "group"
    file.write_text("root:x:0:\n")
    assert bake.merged(str(file), "voicefleet:x:10001:") == "root:x:0:\nvoicefleet:x:10001:\n"
    file.write_text(f"root:x:0:\n{held}\n")
    with pytest.raises(bake.BakeError, match="Choose another image_user_id"):
        bake.merged(str(file), "voicefleet:x:10001:")


def test_the_program_of_an_image_needs_nothing_but_its_own_rooms(tmp_path: Path) -> None:
    bake.add_program(Paths(str(tmp_path)), SETTINGS)
    lines = [
        f"import sys; sys.path.insert(0, {str(tmp_path / 'container')!r})",
        "from module_utils.host import container",
        "print(container.load().launches[0]['lang_code'])",
    ]
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("a\n", 0), done.stderr
    script = bake.RUN_TEXT.replace(bake.PROGRAM, str(tmp_path / "container"))
    done = subprocess.run([sys.executable, "-I", "-c", script, "other"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "name one command: serve, ready, health, prove" in done.stderr
    assert os.stat(tmp_path / "container" / "run").st_mode & 0o777 == 0o755
