# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports and imports: complete, truncated, mixed up, damaged, killed, and without disk space."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import UNFINISHED
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import export
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.age import OlderError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.store import verify
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.stores import tree, write_store

MB = export.MEGABYTE
BIG = random.Random(1).randbytes(2_500_001)
LONG = f"wheels/{'x' * 150}.whl"
FIRST = {
    "kokoro/voices/af_heart.pt": b"heart",
    "kokoro/voices/empty.pt": b"",
    "wheels/torch.whl": BIG,
    "wheels/half.whl": BIG[:600_000],
    LONG: b"a name that one header cannot hold",
}
SECOND = {
    "kokoro/voices/af_heart.pt": b"another heart",
    "wheels/half.whl": BIG[:600_000],
    "wheels/new.whl": BIG[::-1],
    LONG: b"a name that one header cannot hold",
}


def quiet(_line: str) -> None:
    pass


def carry(store: Path, folder: Path, since: Path | None = None, size: int = MB) -> export.Outcome:
    return export.export_store(store, folder, since, size, quiet)


def bring(folder: Path, store: Path) -> export.Outcome:
    return export.import_store(folder, store, quiet)


@pytest.fixture
def carried(tmp_path: Path) -> SimpleNamespace:
    """A store `there` with the first state, the store `here` with the second, a full export and the difference."""
    here, there = tmp_path / "here", tmp_path / "there"
    write_store(here, FIRST)
    carry(here, tmp_path / "full")
    bring(tmp_path / "full", there)
    for path in FIRST.keys() - SECOND.keys():
        (here / path).unlink()
    write_store(here, SECOND)
    carry(here, tmp_path / "delta", tmp_path / "full")
    return SimpleNamespace(here=here, there=there, full=tmp_path / "full", delta=tmp_path / "delta")


def refused(carried: SimpleNamespace, words: str, kinds: list[tuple[str, str]] | None = None) -> export.ExportError:
    """The import of the difference is refused with these words, and the store is as it was."""
    before = tree(carried.there)
    with pytest.raises(export.ExportError, match=words) as caught:
        bring(carried.delta, carried.there)
    assert tree(carried.there) == before
    assert verify(carried.there) == []
    if kinds is not None:
        assert [(finding.kind, finding.path) for finding in caught.value.findings] == kinds
    return caught.value


def edit(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_full_export_and_a_difference_restore_the_store_byte_for_byte(carried: SimpleNamespace) -> None:
    assert {path: data for path, data in tree(carried.there).items() if path != "manifest.json"} == FIRST
    done = bring(carried.delta, carried.there)
    assert tree(carried.there) == tree(carried.here)
    assert done.added == ["kokoro/voices/af_heart.pt", "wheels/new.whl"]
    assert done.removed == ["kokoro/voices/empty.pt", "wheels/torch.whl"]
    assert not bring(carried.delta, carried.there).changed


def test_volumes_are_plain_archives_within_their_size(carried: SimpleNamespace, tmp_path: Path) -> None:
    volumes = sorted(carried.full.glob("volume-*.tar"))
    assert [volume.name for volume in volumes] == [
        "volume-0001.tar",
        "volume-0002.tar",
        "volume-0003.tar",
        "volume-0004.tar",
    ]
    assert all(volume.stat().st_size <= MB for volume in volumes)
    unpacked = tmp_path / "unpacked"
    for volume in volumes:
        with tarfile.open(volume) as archive:
            archive.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    parts = b"".join(path.read_bytes() for path in sorted(unpacked.glob("wheels/torch.whl.part-*")))
    assert parts == BIG
    assert (unpacked / LONG).read_bytes() == FIRST[LONG]


def test_the_same_store_gives_the_same_export(carried: SimpleNamespace, tmp_path: Path) -> None:
    carry(carried.here, tmp_path / "again", carried.full / "manifest.json")
    assert tree(tmp_path / "again") == tree(carried.delta)
    assert not carry(carried.here, carried.delta, carried.full).changed


def test_small_files_share_volumes() -> None:
    def artifact(name: str, size: int) -> export.Artifact:
        return export.Artifact(name, "0" * 64, size, "wheel", name, "1")

    plans = export.lay_out([artifact(f"{number}", 300_000) for number in range(9)], MB)
    assert [len(plan.rows) for plan in plans] == [3, 3, 3]
    cut = export.lay_out([artifact("big", 1_500_000), artifact("small", 300_000)], MB)
    assert [[row.artifact.path for row in plan.rows] for plan in cut] == [["big"], ["big", "small"]]
    assert [row.length for plan in cut for row in plan.rows if row.artifact.path == "big"] == [998_400, 501_600]


def test_the_signature_is_exported_and_a_stale_one_is_removed(carried: SimpleNamespace, tmp_path: Path) -> None:
    bring(carried.delta, carried.there)
    (carried.here / "manifest.json.sig").write_text("signed")
    carry(carried.here, tmp_path / "signed", carried.full)
    # The same manifest, signed later: only the signature is imported.
    assert bring(tmp_path / "signed", carried.there).added == ["manifest.json.sig"]
    assert (carried.there / "manifest.json.sig").read_text() == "signed"
    write_store(carried.here, {**SECOND, "wheels/third.whl": b"3"})
    (carried.here / "manifest.json.sig").unlink()
    carry(carried.here, tmp_path / "third", tmp_path / "signed")
    bring(tmp_path / "third", carried.there)
    assert tree(carried.there) == tree(carried.here)


def test_an_unchanged_store_writes_nothing(carried: SimpleNamespace, tmp_path: Path) -> None:
    done = carry(carried.here, tmp_path / "none", carried.here / "manifest.json")
    assert (done.changed, done.manifest_differs, done.volumes) == (False, False, 0)
    assert not (tmp_path / "none").exists()


def test_check_mode_lists_the_files_and_writes_nothing(carried: SimpleNamespace, tmp_path: Path) -> None:
    planned = export.export_store(carried.here, tmp_path / "plan", carried.full, MB, quiet, check=True)
    index = export.read_index(carried.delta)
    assert (planned.changed, planned.volumes, planned.size) == (True, len(index.volumes), index.size)
    assert not (tmp_path / "plan").exists()
    before = tree(carried.there)
    would = export.import_store(carried.delta, carried.there, quiet, check=True)
    assert (would.added, would.removed) == (planned.added, planned.removed)
    export.import_store(carried.full, tmp_path / "fresh", quiet, check=True)
    assert tree(carried.there) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["delta", "full", "here", "there"]


def test_progress_is_reported(carried: SimpleNamespace, tmp_path: Path) -> None:
    said: list[str] = []
    export.export_store(carried.here, tmp_path / "told", None, MB, said.append)
    export.import_store(tmp_path / "told", tmp_path / "new", said.append)
    # On a slow machine, lines about the progress within a volume come between.
    assert {"volume", "verifying"} <= {line.split()[0] for line in said}


# What an export refuses.


@pytest.mark.parametrize("size", [0, MB - 1, -1])
def test_a_volume_that_is_too_small_is_refused(carried: SimpleNamespace, tmp_path: Path, size: int) -> None:
    with pytest.raises(export.ExportError, match="too small: give at least 1 MB"):
        carry(carried.here, tmp_path / "small", size=size)
    assert not (tmp_path / "small").exists()


def test_an_export_into_the_store_itself_is_refused(carried: SimpleNamespace) -> None:
    with pytest.raises(export.ExportError, match="is inside the store"):
        carry(carried.here, carried.here / "out")
    assert verify(carried.here) == []


def test_a_damaged_store_is_not_exported(carried: SimpleNamespace, tmp_path: Path) -> None:
    (carried.here / "wheels/half.whl").write_bytes(b"?")
    with pytest.raises(export.ExportError, match=r"truncated: wheels/half\.whl"):
        carry(carried.here, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_a_file_that_changes_during_the_export_is_detected(
    carried: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (carried.here / "wheels/half.whl").write_bytes(b"?" * 600_000)
    monkeypatch.setattr(export, "verify", lambda *_: [])
    with pytest.raises(export.ExportError, match=r"half\.whl changed during"):
        carry(carried.here, tmp_path / "bad")
    assert not (tmp_path / "bad/export.json").exists()


def test_an_earlier_export_is_not_overwritten(carried: SimpleNamespace) -> None:
    before = tree(carried.full)
    with pytest.raises(export.ExportError, match="holds another or an unfinished export"):
        carry(carried.here, carried.full)
    (carried.delta / "volume-0001.tar").unlink()
    with pytest.raises(export.ExportError, match=r"missing: volume-0001\.tar"):
        carry(carried.here, carried.delta, carried.full)
    (carried.delta / "export.json").unlink()
    with pytest.raises(export.ExportError, match="another or an unfinished export"):
        carry(carried.here, carried.delta, carried.full)
    assert tree(carried.full) == before


def test_a_disk_without_room_is_refused_before_anything_is_written(
    carried: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.shutil, "disk_usage", lambda _path: SimpleNamespace(free=2 * MB))
    with pytest.raises(export.ExportError, match="has 2 MB free, the export needs 3 MB"):
        carry(carried.here, tmp_path / "full-disk")
    assert tree(tmp_path / "full-disk") == {}
    refused(carried, "has 2 MB free, the import needs 3 MB")


def full_after(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    """Make the disk full after `files` files were flushed to it."""
    real, done = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        done[0] += 1
        if done[0] > files:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_disk_that_fills_up_while_exporting_leaves_no_export(
    carried: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "cut"
    with monkeypatch.context() as patch:
        full_after(patch, 1)
        with pytest.raises(OSError, match="No space left"):
            carry(carried.here, target, carried.full)
    assert list(target.glob("*.*")) == [target / export.UNFINISHED]
    with pytest.raises(export.ExportError, match=r"no export\.json"):
        bring(target, carried.there)
    assert carry(carried.here, target, carried.full).changed
    assert tree(target) == tree(carried.delta)


def test_a_disk_that_fills_up_while_importing_leaves_the_old_store(
    carried: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(carried.there)
    with monkeypatch.context() as patch:
        full_after(patch, 1)
        with pytest.raises(OSError, match="No space left"):
            bring(carried.delta, carried.there)
    assert tree(carried.there) == before
    bring(carried.delta, carried.there)
    assert tree(carried.there) == tree(carried.here)


def test_another_base_than_a_manifest_is_refused(carried: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="cannot be read"):
        carry(carried.here, tmp_path / "x", tmp_path / "absent.json")
    with pytest.raises(ManifestError, match="has schema 1"):
        carry(carried.here, tmp_path / "x", carried.full / "export.json")
    with pytest.raises(ManifestError, match="is not JSON"):
        carry(carried.here, tmp_path / "x", carried.full / "volume-0001.tar")


def test_a_store_that_is_being_fetched_is_left_alone(carried: SimpleNamespace, tmp_path: Path) -> None:
    works = ((carried.here, lambda: carry(carried.here, tmp_path / "x")), (carried.there, lambda: bring(*way)))
    way = (carried.delta, carried.there)
    for store, work in works:
        held = os.open(store, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another fetch"):
            work()
        os.close(held)


# What an import refuses.


def test_a_missing_volume_is_refused(carried: SimpleNamespace) -> None:
    (carried.delta / "volume-0002.tar").unlink()
    refused(carried, "copy it from its medium", [("missing", "volume-0002.tar")])


def test_swapped_volumes_are_refused(carried: SimpleNamespace) -> None:
    first, second, aside = (carried.delta / name for name in ("volume-0001.tar", "volume-0002.tar", "aside"))
    for source, target in ((first, aside), (second, first), (aside, second)):
        source.rename(target)
    refused(
        carried, r"contains volume-0002\.tar", [("misplaced", "volume-0001.tar"), ("misplaced", "volume-0002.tar")]
    )  # fmt: skip


def test_all_damage_is_reported_at_once(carried: SimpleNamespace) -> None:
    flipped = carried.delta / "volume-0001.tar"
    data = bytearray(flipped.read_bytes())
    data[5000] ^= 1
    flipped.write_bytes(data)
    short = carried.delta / "volume-0002.tar"
    short.write_bytes(short.read_bytes()[:-1])
    (carried.delta / "volume-0009.tar").write_bytes(b"of another export")
    refused(
        carried, "incomplete or damaged. The store was not changed",
        [("corrupt", "volume-0001.tar"), ("truncated", "volume-0002.tar"), ("unlisted", "volume-0009.tar")],
    )  # fmt: skip


def test_an_altered_manifest_is_refused(carried: SimpleNamespace) -> None:
    (carried.delta / "manifest.json").write_bytes((carried.full / "manifest.json").read_bytes())
    refused(carried, "incomplete or damaged", [("corrupt", "manifest.json")])


def test_exports_in_the_wrong_order_are_refused(carried: SimpleNamespace, tmp_path: Path) -> None:
    write_store(carried.here, {**SECOND, "wheels/third.whl": b"3"})
    carry(carried.here, tmp_path / "third", carried.delta)
    third = SimpleNamespace(**{**carried.__dict__, "delta": tmp_path / "third"})
    refused(third, "first import the exports in between, in order")
    bring(carried.delta, carried.there)
    bring(tmp_path / "third", carried.there)
    assert tree(carried.there) == tree(carried.here)
    refused(carried, "this export starts from manifest")
    with pytest.raises(export.ExportError, match="beginning with a full one"):
        bring(carried.delta, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    full = SimpleNamespace(**{**carried.__dict__, "delta": carried.full})
    refused(full, "this is a full export, but the store already has a manifest")


def test_a_store_with_other_damage_does_not_change(carried: SimpleNamespace) -> None:
    (carried.there / "mine.txt").write_text("?")
    (carried.there / "wheels/half.whl").write_bytes(b"?")
    before = tree(carried.there)
    with pytest.raises(export.ExportError, match="repair it first") as caught:
        bring(carried.delta, carried.there)
    assert [(f.kind, f.path) for f in caught.value.findings] == [
        ("unlisted", "mine.txt"), ("truncated", "wheels/half.whl"),
    ]  # fmt: skip
    assert tree(carried.there) == before


def test_a_new_store_must_be_an_empty_folder(carried: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("?")
    with pytest.raises(export.ExportError, match=r"unlisted: mine\.txt"):
        bring(carried.full, tmp_path / "used")
    assert tree(tmp_path / "used") == {"mine.txt": b"?"}


def test_a_link_that_leads_out_of_the_store_is_refused(carried: SimpleNamespace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(carried.there / "wheels", outside)
    (carried.there / "wheels").symlink_to(outside)
    before = tree(outside)
    with pytest.raises(export.ExportError, match=r"outside: wheels/new\.whl"):
        bring(carried.delta, carried.there)
    assert tree(outside) == before


@pytest.mark.parametrize("path", ["../escape", "/etc/cron.d/escape", "wheels/../../escape", "a\\b", ""])
@pytest.mark.parametrize("where", ["files", "removed", "manifest"])
def test_a_path_out_of_the_store(carried: SimpleNamespace, path: str, where: str) -> None:
    def change(data: Any) -> None:
        if where == "files":
            data["files"][0]["path"] = path
        elif where == "removed":
            data["removed"][0] = path
        else:
            data["artifacts"][0]["path"] = path

    index = carried.delta / "export.json"
    if where != "manifest":
        edit(index, change)
        refused(carried, "not a plain path inside the store")
        return
    edit(carried.delta / "manifest.json", change)
    digest = export.sha256_bytes((carried.delta / "manifest.json").read_bytes())
    edit(index, lambda data: data.update(manifest=digest, beside={"manifest.json": digest}))
    before = tree(carried.there)
    with pytest.raises(ManifestError, match="not a plain path inside the store"):
        bring(carried.delta, carried.there)
    assert tree(carried.there) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema=2), "has schema 2"),
        (lambda d: d.pop("volumes"), "index: missing: volumes"),
        (lambda d: d["volumes"].reverse(), "listed as number"),
        (lambda d: d["volumes"][0].update(name="/etc/passwd"), "is listed as number 1, '/etc/passwd'"),
        (lambda d: d["volumes"][0].update(sha256="x"), "is not a SHA-256 digest"),
        (lambda d: d["files"][0]["pieces"][0].update(offset=-1), "-1 is not a number of 0 or more"),
        (lambda d: d["files"][0]["pieces"][0].update(offset=MB), "do not make up the file"),
        (lambda d: d["files"][0]["pieces"][0].update(volume=9), "do not make up the file"),
        (lambda d: d["files"].pop(), "does not match the manifest"),
        (lambda d: d["removed"].append("wheels/half.whl"), "does not match the manifest"),
        (lambda d: d["beside"].update({"../../x": d["manifest"]}), "names files other than"),
        (lambda d: d.update(files=3), "is damaged"),
        (lambda d: d.update(base=3), r"index\.base: 3 is not a SHA-256 digest"),
        (lambda d: d["removed"].append(None), "None is not a plain path"),
        (lambda d: d["files"][0].update(path="a\x1b[31m"), "is not a plain path"),
        (lambda d: d["files"][0]["pieces"].append("x"), "not an object"),
        (lambda d: d.update(volumes={}), "is not of the type tuple"),
        (lambda d: d.update(beside={}), "names files other than"),
    ],
)
def test_an_altered_index_is_refused(carried: SimpleNamespace, change: Callable[[Any], None], words: str) -> None:
    edit(carried.delta / "export.json", change)
    refused(carried, words)


def test_a_truncated_index_is_refused(carried: SimpleNamespace) -> None:
    index = carried.delta / "export.json"
    index.write_bytes(index.read_bytes()[:-20])
    refused(carried, "is not JSON")


def test_pieces_that_point_at_other_bytes_are_refused(carried: SimpleNamespace) -> None:
    edit(carried.delta / "export.json", lambda d: d["files"][1]["pieces"][0].update(offset=0))
    refused(carried, "from the volumes does not have the manifest's digest")


# Going back in time.


def newer(carried: SimpleNamespace, tmp_path: Path) -> Path:
    """The store behind the gap gets a newer state. Returns an export that leads back, with an index that fits."""
    old = tmp_path / "old"
    shutil.copytree(carried.there, old)
    write_store(carried.here, SECOND, counter=2)
    carry(carried.here, tmp_path / "newer", old / "manifest.json")
    bring(tmp_path / "newer", carried.there)
    carry(old, tmp_path / "back", carried.there / "manifest.json")
    return tmp_path / "back"


def test_an_export_of_an_older_state_is_refused_unless_it_is_asked_for(
    carried: SimpleNamespace, tmp_path: Path
) -> None:
    back = newer(carried, tmp_path)
    before = tree(carried.there)
    with pytest.raises(OlderError, match=r"number 1 of .* older than the one accepted before: number 2 of .*allow_old"):
        bring(back, carried.there)
    assert tree(carried.there) == before
    export.import_store(back, carried.there, quiet, allow_older=True)
    assert tree(carried.there) == tree(tmp_path / "old")


def test_an_older_export_is_refused_even_if_the_store_was_removed(carried: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(OlderError, match="older than the one accepted before"):
        export.import_store(carried.full, tmp_path / "new", quiet, accepted=("2026-01-31T12:00:00Z", 7))
    assert not (tmp_path / "new").exists()


def test_an_import_removes_what_a_killed_write_left(carried: SimpleNamespace) -> None:
    (carried.there / f".manifest.json.abc{UNFINISHED}").write_text("half")
    (carried.there / f"wheels/.new.whl{UNFINISHED}").write_text("half")
    bring(carried.delta, carried.there)
    assert tree(carried.there) == tree(carried.here)


def test_a_link_to_a_folder_is_found_in_a_store(carried: SimpleNamespace, tmp_path: Path) -> None:
    (carried.here / "wheels").rename(tmp_path / "wheels")
    (carried.here / "wheels").symlink_to(tmp_path / "wheels")
    assert [(f.kind, f.path) for f in verify(carried.here)] == [("unlisted", "wheels")]
    (tmp_path / "empty").mkdir()
    (carried.there / "more").symlink_to(tmp_path / "empty")
    assert [(f.kind, f.path) for f in verify(carried.there)] == [("unlisted", "more")]


def test_pipes_in_a_store_do_not_hang_its_verification(carried: SimpleNamespace) -> None:
    for path in ("kokoro/voices/empty.pt", "manifest.json.sig", "pipe\x1b[31m"):
        (carried.there / path).unlink(missing_ok=True)
        os.mkfifo(carried.there / path)
    findings = verify(carried.there)
    assert [(f.kind, f.path) for f in findings] == [
        ("missing", "kokoro/voices/empty.pt"), ("unlisted", "manifest.json.sig"), ("unlisted", "pipe\x1b[31m"),
    ]  # fmt: skip
    assert findings[0].detail == findings[1].detail == "is not a regular file"
    assert str(findings[2]).startswith("unlisted: 'pipe\\x1b[31m' (")


# Killed.


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed before its nth rename or removal of a file. False if it has fewer."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return call

        for name in ("replace", "rename", "unlink"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_an_import_that_is_killed_at_any_step_continues(carried: SimpleNamespace) -> None:
    fresh = carried.there.with_name("fresh")
    shutil.copytree(carried.there, fresh)
    old = (fresh / "manifest.json").read_bytes()
    whole = 0
    for step in range(1, 50):
        shutil.rmtree(carried.there)
        shutil.copytree(fresh, carried.there)
        if not killed_before(step, lambda: bring(carried.delta, carried.there)):
            break
        kept = (carried.there / "manifest.json").read_bytes() == old
        # The store is old and complete, or fails verification. It never has a new manifest over incomplete files.
        whole += kept and verify(carried.there) == []
        assert kept or tree(carried.there) == tree(carried.here)
        bring(carried.delta, carried.there)
        assert tree(carried.there) == tree(carried.here)
        assert list(carried.there.parent.glob(".there.import-*")) == []
    assert step > 6
    # The unpacking, both files of it, happened outside the store.
    assert whole >= 2


def test_files_that_were_unpacked_before_a_kill_are_not_unpacked_again(
    carried: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two files are renamed inside the staging folder; the kill comes before the third rename.
    assert killed_before(3, lambda: bring(carried.delta, carried.there))
    fsyncs: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (fsyncs.append(1), real(descriptor))[1])
    bring(carried.delta, carried.there)
    # The manifest's own, and its folder's.
    assert len(fsyncs) == 2
    assert tree(carried.there) == tree(carried.here)


def test_an_export_that_is_killed_at_any_step_starts_again_or_is_refused(
    carried: SimpleNamespace, tmp_path: Path
) -> None:
    for step in range(1, 50):
        target = tmp_path / f"killed-{step}"
        if not killed_before(step, lambda target=target: carry(carried.here, target, carried.full)):  # type: ignore[misc]
            break
        assert not (target / "export.json").exists()
        with pytest.raises(export.ExportError, match=r"no export\.json"):
            bring(target, carried.there)
        if not list(target.glob("volume-*")):
            assert carry(carried.here, target, carried.full).changed
            assert tree(target) == tree(carried.delta)
    assert step > 4


def test_a_store_on_its_own_file_system_is_imported_by_copying(
    carried: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = carried.there.parent / "cache"
    os.link(carried.there / "kokoro/voices/af_heart.pt", linked)
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if ".import-" in str(source) and ".import-" not in str(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    bring(carried.delta, carried.there)
    assert tree(carried.there) == tree(carried.here)
    # Other links to the old file keep its bytes.
    assert linked.read_bytes() == FIRST["kokoro/voices/af_heart.pt"]
