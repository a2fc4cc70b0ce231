# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and accounts of others are refused, and ours are marked before they hold anything."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, ownership


@pytest.mark.parametrize(
    "path",
    [
        "/", "/opt", "/etc", "/var", "/usr", "/home", "/home/kim", "/srv", "/root", "/tmp", "/var/lib", "/var/tmp",
        "/usr/local", "/usr/local/bin", "/etc/systemd", "/etc/ssl/", "/run/voicefleet", "/proc/voicefleet",
        "data/voice", "/opt/../etc", "/opt//voice", "/opt/a/..", "/opt/voice\nfleet", "",
    ],
)  # fmt: skip
def test_a_shared_place_is_refused_by_name(path: str) -> None:
    assert ownership.shared(path)
    assert ownership.refusal(path or "/") != ""
    with pytest.raises(ownership.ForeignError):
        ownership.claim(path or "/")


@pytest.mark.parametrize(
    "path",
    [
        layout.ROOT, layout.HOME, layout.SECRETS, layout.EVIDENCE, layout.WORKER_HOME, layout.WORKER_SECRETS,
        layout.CANDIDATE_SECRETS, layout.candidate_home(layout.HOME), layout.GATEWAY, layout.BALANCER, layout.PROXY,
        "/srv/voice", "/home/kim/voice", "/usr/local/voicefleet", "/opt/voicefleet/",
    ],
)  # fmt: skip
def test_a_folder_of_its_own_is_no_shared_place(path: str) -> None:
    assert ownership.shared(path) == ""


def test_a_new_folder_is_marked_and_stays_ours(tmp_path: Path) -> None:
    folder = str(tmp_path / "ours")
    ownership.claim(folder, check=True)
    assert not os.path.exists(folder)
    ownership.claim(folder)
    assert os.listdir(folder) == [ownership.MARK]
    assert (os.stat(folder).st_mode & 0o777, ownership.is_adopted(folder)) == (0o700, False)
    (tmp_path / "ours" / "file").touch()
    ownership.claim(folder)
    ownership.remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_becomes_ours_and_stays_after_a_removal(tmp_path: Path) -> None:
    ownership.claim(str(tmp_path))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").touch()
    (tmp_path / "link").symlink_to("/")
    ownership.remove(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def refuse_rename(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def rename(path: str, target: str) -> None:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "rename", rename)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY], ids=["image", "mount point"])
def test_a_folder_that_cannot_be_renamed_is_removed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A folder of a container's image cannot be renamed, and neither can a mount point."""
    ours = tmp_path / "ours"
    ownership.claim(str(ours))
    (ours / "file").touch()
    refuse_rename(monkeypatch, code)
    ownership.remove(str(ours))
    assert not ours.exists()


def test_a_mount_point_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "ours"
    ownership.claim(str(ours))
    refuse_rename(monkeypatch, errno.EBUSY)

    def rmdir(path: str) -> None:
        raise OSError(errno.EBUSY, "busy", path)

    monkeypatch.setattr(os, "rmdir", rmdir)
    ownership.remove(str(ours))
    assert list(ours.iterdir()) == []


def test_other_faults_of_a_rename_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ownership.claim(str(tmp_path / "ours"))
    refuse_rename(monkeypatch, errno.EROFS)
    with pytest.raises(OSError, match="Read-only"):
        ownership.remove(str(tmp_path / "ours"))


def test_a_folder_with_files_of_others_is_refused_and_says_how_to_mark_it(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    os.chmod(tmp_path, 0o751)
    with pytest.raises(ownership.ForeignError) as caught:
        ownership.keep(str(tmp_path), 0o700, os.geteuid())
    said = str(caught.value)
    assert said.startswith(f"{tmp_path} holds files (precious) and has no mark of this collection")
    assert f"touch {tmp_path}/.voicefleet" in said
    assert "an older version of this collection made it" in said
    assert (os.listdir(tmp_path), tmp_path.stat().st_mode & 0o777) == (["precious"], 0o751)
    (tmp_path / ownership.MARK).touch()
    assert ownership.keep(str(tmp_path), 0o700, os.geteuid()) == "mode 0751"


def test_a_mark_must_be_a_plain_file_of_root(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    (tmp_path / ownership.MARK).symlink_to("precious")
    assert not ownership.is_ours(str(tmp_path))
    if os.geteuid() == 0:
        (tmp_path / ownership.MARK).unlink()
        (tmp_path / ownership.MARK).touch()
        os.chown(tmp_path / ownership.MARK, 65534, 65534)
        assert not ownership.is_ours(str(tmp_path))


def test_a_link_is_not_closed_or_given_away(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o751)
    (tmp_path / "link").symlink_to("there")
    with pytest.raises(ownership.ForeignError, match="is a link to .*there. Name that folder itself"):
        ownership.keep(str(tmp_path / "link"), 0o700, os.geteuid())
    assert os.listdir(tmp_path / "there") == []


def test_a_link_to_a_shared_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert ownership.refusal(str(tmp_path / "link")).startswith("leads to /etc, which is at the top of the file system")
    (tmp_path / "nothing").symlink_to("missing")
    assert ownership.refusal(str(tmp_path / "nothing")) == "is a link to nothing"


def test_a_kill_while_a_folder_is_made_leaves_nothing_that_the_next_run_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "ours")

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    for function in ("mkdir", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(ownership.os, function, killed)
            with pytest.raises(KeyboardInterrupt):
                ownership.claim(folder)
        assert not os.path.exists(folder)
    with monkeypatch.context() as patch:
        patch.setattr(ownership, "_mark", killed)
        with pytest.raises(KeyboardInterrupt):
            ownership.claim(folder)
    ownership.claim(folder)
    assert sorted(os.listdir(tmp_path)) == ["ours"]


def test_only_an_account_with_our_comment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(comment: str, uid: int = 999) -> pwd.struct_passwd:
        return pwd.struct_passwd(("voice", "x", uid, uid, comment, "/", "/usr/sbin/nologin"))

    monkeypatch.setattr(ownership.pwd, "getpwnam", lambda _name: entry(ownership.COMMENT))
    assert ownership.account_refusal("voice") == ""
    monkeypatch.setattr(ownership.pwd, "getpwnam", lambda _name: entry("www-data"))
    assert "usermod --comment 'Xinference by voicefleet' www-data" in ownership.account_refusal("www-data")
    monkeypatch.setattr(ownership.pwd, "getpwnam", lambda _name: entry(ownership.COMMENT, 0))
    assert ownership.account_refusal("toor") == "is root"
    monkeypatch.undo()
    assert ownership.account_refusal("nobody-of-this-name") == ""


def test_every_refusal_is_reported_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    home = str(tmp_path / "home")
    places = {
        "voicefleet_root": "/opt",
        "xinference_home": home,
        "xinference_worker_home": home,
        "xinference_secrets_dir": f"{home}/secrets",
        "synthesis_evidence_dir": "/etc",
    }
    found = ownership.refusals(places, "root")
    assert set(found) == {*places, "xinference_user"}
    assert found["xinference_user"] == "root is root."
    assert "has two uses" in found["xinference_home"]
    assert "lies in the service's home" in found["xinference_secrets_dir"]
    assert found["synthesis_evidence_dir"].startswith("/etc is at the top of the file system")
    healthy = {"voicefleet_root": str(tmp_path / "root"), "xinference_home": home}
    assert ownership.refusals(healthy, "nobody-of-this-name") == {}


def test_the_role_gives_the_account_our_comment() -> None:
    tasks = Path(__file__).parents[5] / "roles/xinference/tasks/main.yml"
    if not tasks.exists():
        pytest.skip("the roles are not here")
    assert f"comment: {ownership.COMMENT}" in tasks.read_text(encoding="utf-8")


def test_the_next_run_removes_what_a_killed_write_left_in_a_folder_of_ours(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ownership.claim(str(ours))
    other.mkdir()
    for folder in (ours, other):
        for name in (".secrets.json.abc.voicefleet-new", "kept.voicefleet-new", ".kept.new"):
            (folder / name).touch()
            os.utime(folder / name, (0, 0))
    (ours / ".young.abc.voicefleet-new").touch()
    ownership.claim(str(ours), check=True)
    assert len(list(ours.iterdir())) == 5
    ownership.claim(str(ours))
    assert sorted(os.listdir(ours)) == [".kept.new", ownership.MARK, ".young.abc.voicefleet-new", "kept.voicefleet-new"]
    with pytest.raises(ownership.ForeignError):
        ownership.claim(str(other))
    assert len(list(other.iterdir())) == 3
