# SPDX-License-Identifier: GPL-3.0-or-later
"""Old releases are removed, but never the current or the previous one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import release, retention

HALF = "1.2.3-0123456789ab"
DIGESTS = {name: letter * 64 for name, letter in zip("vwxyz", "abcde", strict=True)}
# v, w, x and y served one after the other, then v again. z is current.
RECEIPTS = [
    {"release": new, "previous": old, "time": f"2026-11-22T0{hour}:00:00Z"}
    for hour, (old, new) in enumerate(zip([None, *"vwxyv"], "vwxyvz", strict=True))
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(str(tmp_path))
    ownership.claim(found.root)
    for name, digest in DIGESTS.items():
        folder = tmp_path / "releases" / name
        folder.mkdir(parents=True)
        release.seal(str(folder), {"id": name, "made": 0, "artifacts": [{"sha256": digest}]})
        (tmp_path / "artifacts" / digest).mkdir(parents=True)
        (tmp_path / "artifacts" / digest / "file").touch()
    release.switch(found, "z")
    return found


@pytest.mark.parametrize(("keep", "stay"), [(0, "zv"), (1, "zv"), (2, "zvy"), (3, "zvyx"), (9, "zvyxw")], ids=str)
def test_the_releases_that_served_last_stay(paths: Paths, keep: int, stay: str) -> None:
    choice = retention.choose(paths, "z", RECEIPTS, keep, None)
    assert choice.stay == list(stay)
    assert sorted([*choice.stay, *choice.go]) == list("vwxyz")
    assert choice.artifacts == []


def test_a_dry_run_keeps_the_current_release(paths: Paths) -> None:
    """Before the switch, `current` still points to z, which then becomes the previous release."""
    choice = retention.choose(paths, "w", RECEIPTS, 0, None)
    assert set(choice.stay) == {"w", "z"}


def test_releases_without_a_receipt_count_from_their_creation(paths: Paths) -> None:
    assert retention.choose(paths, "z", [], 1, None).stay == ["z", "y"]


def test_a_removal_leaves_the_other_releases(paths: Paths) -> None:
    memo = Memo(paths.stamps)
    for digest in DIGESTS.values():
        file = os.path.join(paths.artifacts, digest, "file")
        memo.put(file, os.stat(file), digest)
    memo.save()
    choice = retention.choose(paths, "z", RECEIPTS, 1, [DIGESTS["w"]])
    assert set(choice.artifacts) == {DIGESTS["x"], DIGESTS["y"]}
    retention.remove(paths, choice)
    assert sorted(os.listdir(paths.releases)) == ["v", "z"]
    left = {DIGESTS["v"], DIGESTS["w"], DIGESTS["z"]}
    assert set(retention.folders(paths.artifacts)) == left
    assert set(Memo(paths.stamps).entries) == {os.path.join(paths.artifacts, digest, "file") for digest in left}
    again = retention.choose(paths, "z", RECEIPTS, 1, [DIGESTS["w"]])
    assert (again.go, again.remnants, again.artifacts) == ([], [], [])


def test_a_release_that_cannot_be_renamed_is_removed_too(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of a container's image cannot be renamed."""
    monkeypatch.setattr(ownership, "moved", lambda _path, _target: False)
    retention.remove(paths, retention.choose(paths, "z", RECEIPTS, 1, None))
    assert sorted(os.listdir(paths.releases)) == ["v", "z"]


def test_the_next_run_finishes_an_interrupted_removal(paths: Paths) -> None:
    os.rename(paths.release("w"), paths.release(retention.DOOMED + "w"))
    choice = retention.choose(paths, "z", RECEIPTS, 9, None)
    assert (choice.go, choice.remnants) == ([], [retention.DOOMED + "w"])
    retention.remove(paths, choice)
    assert sorted(os.listdir(paths.releases)) == ["v", "x", "y", "z"]


def test_a_recent_build_stays_with_its_artifacts(paths: Paths) -> None:
    os.mkdir(paths.release(HALF))
    made = os.stat(paths.release(HALF)).st_mtime
    choice = retention.choose(paths, "z", RECEIPTS, 1, [], now=made + 60)
    assert (choice.remnants, choice.artifacts) == ([], [])
    choice = retention.choose(paths, "z", RECEIPTS, 1, [], now=made + retention.REMNANT_AGE + 1)
    assert choice.remnants == [HALF]
    assert choice.artifacts != []


def test_the_diff_shows_what_is_removed(paths: Paths) -> None:
    choice = retention.choose(paths, "z", RECEIPTS, 2, [])
    before, after = choice.lines(after=False).splitlines(), choice.lines(after=True).splitlines()
    assert after == choice.stay
    assert set(before) - set(after) == {"w", "x", f"artifact {DIGESTS['w']}", f"artifact {DIGESTS['x']}"}


def test_a_folder_of_another_program_stays(paths: Paths) -> None:
    os.mkdir(paths.release("other-app"))
    choice = retention.choose(paths, "z", RECEIPTS, 1, [], now=2e12)
    assert choice.remnants == []
    assert "other-app" not in choice.lines(after=False)


def test_nothing_is_removed_below_a_root_of_others(paths: Paths) -> None:
    os.unlink(os.path.join(paths.root, ownership.MARK))
    choice = retention.choose(paths, "z", RECEIPTS, 0, [])
    with pytest.raises(ownership.ForeignError, match="has no mark of this collection"):
        retention.remove(paths, choice)
    assert sorted(os.listdir(paths.releases)) == list("vwxyz")
