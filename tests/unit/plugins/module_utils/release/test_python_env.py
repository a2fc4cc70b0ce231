# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of a release, with a stand-in for uv that records its calls. The real uv runs in Molecule."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import inventory, python_env, release

FAKE_UV = """#!/bin/sh
# Record arguments, variables and the files beside the lock. Then create the files that uv would.
{{ echo "$@"; env; }} >> {log}
case "$1" in
venv) for last; do :; done; mkdir -p "$last/bin" "$last/lib/python3.11/site-packages"; touch "$last/bin/python" ;;
pip) for last; do :; done; ls "$(dirname "$last")/../wheels" >> {log}; {end} ;;
esac
"""


def row(path: str, digest: str, name: str) -> dict[str, Any]:
    return {"path": path, "sha256": digest * 64, "size": 1, "kind": "wheel", "name": name, "version": "1.2.3"}


LOCK = row("locks/pylock.cpu-py311-x86_64.toml", "1", "lock")
UV = row("wheels/uv-1.2.3-py3-none-manylinux_2_17_x86_64.whl", "2", "uv")
OTHER = row("wheels/spacy-1.2.4-cp311-cp311-manylinux_2_17_x86_64.whl", "3", "spacy")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's root with the artifacts. uv's wheel contains the stand-in."""
    paths = Paths(str(tmp_path))
    for artifact in (LOCK, UV, OTHER):
        file = Path(paths.artifact(artifact["sha256"], artifact["path"]))
        file.parent.mkdir(parents=True)
        file.write_text(artifact["path"])
    use_uv(tmp_path, "true")
    return tmp_path


def use_uv(root: Path, end: str) -> None:
    program = FAKE_UV.format(log=root / "uv.log", end=end)
    with zipfile.ZipFile(Paths(str(root)).artifact(UV["sha256"], UV["path"]), "w") as wheel:
        wheel.writestr("uv-1.2.3.data/scripts/uv", program)


def make(root: Path, wheels: Any = (UV, OTHER)) -> str:
    return python_env.make(str(root / "releases/r"), "/usr/bin/python3.11", LOCK, wheels, "1.2.3", str(root))


def test_uv_is_called_offline_with_hashes_and_only_for_wheels(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("UV_INDEX_URL", "https://index")
    uv = make(root)
    assert uv == str(root / "tools/uv-1.2.3/uv")
    said = (root / "uv.log").read_text()
    sync = next(line for line in said.splitlines() if line.startswith("pip sync"))
    for option in ("--no-index", "--no-build"):
        assert option in sync
    # uv would also compile what the service never loads.
    assert "--compile-bytecode" not in said
    assert sync.endswith("/locks/pylock.cpu-py311-x86_64.toml")
    assert "UV_OFFLINE=1" in said
    assert "UV_PYTHON_DOWNLOADS=never" in said
    assert "proxy:3128" not in said
    assert "https://index" not in said
    assert os.path.basename(OTHER["path"]) in said
    assert not (root / "releases/r/.build").exists()


def test_repairs_are_applied_and_recorded_in_the_stamp(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_uv(root, 'mkdir -p "$(dirname "$(dirname "$last")")/../env/lib/python3.11/site-packages"')
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(python_env.patches, "apply", lambda patch, env, site: asked.append((patch.name, site)))
    repairs = python_env.patches.choose(["kokoro-eval"])
    env = str(root / "releases/r/env")
    python_env.make(
        str(root / "releases/r"), "/usr/bin/python3.11", LOCK, (UV, OTHER), "1.2.3", str(root), repairs
    )  # fmt: skip
    assert asked == [("kokoro-eval", env + "/lib/python3.11/site-packages")]
    assert python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11", repairs))
    assert not python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11"))


def test_extras_and_dictionaries_are_installed_and_recorded_in_the_stamp(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(python_env.dictionary, "install", lambda file, row, site: asked.append((file, site)))
    words = {**row("dictionaries/unidic-3.1.0.zip", "4", "unidic"), "kind": "dictionary"}
    env, more = str(root / "releases/r/env"), (["japanese", "mandarin"], [words])
    python_env.make(
        str(root / "releases/r"), "/usr/bin/python3.11", LOCK, (UV, OTHER), "1.2.3", str(root), (), *more
    )  # fmt: skip
    sync = next(line for line in (root / "uv.log").read_text().splitlines() if line.startswith("pip sync"))
    assert "--extra=japanese --extra=mandarin" in sync
    assert asked == [(f"{root}/artifacts/{'4' * 64}/unidic-3.1.0.zip", env + "/lib/python3.11/site-packages")]
    assert python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11", (), *more))
    for other in ((["japanese"], [words]), (["japanese", "mandarin"], [])):
        assert not python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11", (), *other))


def test_a_failed_repair_leaves_no_finished_environment(root: Path) -> None:
    use_uv(root, 'mkdir -p "$(dirname "$(dirname "$last")")/../env/lib/python3.11/site-packages"')
    repairs = python_env.patches.choose(["kokoro-eval"])
    with pytest.raises(python_env.EnvError, match=r"xinference/model/audio/kokoro\.py of xinference is missing"):
        python_env.make(
            str(root / "releases/r"), "/usr/bin/python3.11", LOCK, (UV, OTHER), "1.2.3", str(root), repairs
        )  # fmt: skip
    assert not python_env.is_made(
        str(root / "releases/r/env"), python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11", repairs)
    )


def test_packages_are_compiled_with_the_python_of_the_environment(root: Path) -> None:
    site = root / "releases/r/env/lib/python3.11/site-packages"
    link = f"ln -sf {sys.executable} {root}/releases/r/env/bin/python"
    code = f"mkdir -p {site}/kokoro {site}/spacy/tests; touch {site}/kokoro/model.py {site}/spacy/tests/a.py"
    use_uv(root, f"{link}; {code}")
    make(root)
    assert [path.name.partition(".")[0] for path in site.rglob("*.pyc")] == ["model"]


def test_a_failed_compilation_leaves_no_finished_environment(root: Path) -> None:
    site = root / "releases/r/env/lib/python3.11/site-packages"
    failing = "printf '#!/bin/sh\\necho full >&2; exit 1\\n'"
    program = f"cd {root}/releases/r/env/bin; {failing} > python; chmod 755 python"
    use_uv(root, f"{program}; touch {site}/a.py")
    with pytest.raises(python_env.EnvError, match="could not compile the packages: full"):
        make(root)
    assert not (root / "releases/r/env" / python_env.STAMP).exists()


def test_python_collects_garbage_rarely_at_start(root: Path) -> None:
    make(root)
    packages = root / "releases/r/env/lib/python3.11/site-packages"
    program = "import gc, site, sys; site.addsitedir(sys.argv[1]); print(gc.get_threshold()[0])"
    done = subprocess.run([sys.executable, "-c", program, packages], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50000


def test_a_finished_environment_is_recognised_by_lock_and_interpreter(root: Path) -> None:
    make(root)
    env = str(root / "releases/r/env")
    assert python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11"))
    assert not python_env.is_made(env, python_env.stamp_of("f" * 64, "/usr/bin/python3.11"))
    assert not python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.12"))


def test_a_failure_reports_uvs_message_and_the_next_run_finishes(root: Path) -> None:
    use_uv(root, "echo 'hash mismatch for spacy' >&2; exit 1")
    with pytest.raises(python_env.EnvError, match="hash mismatch for spacy"):
        make(root)
    assert not (root / "releases/r/env" / python_env.STAMP).exists()
    leftover = root / "releases/r/env/half"
    leftover.touch()
    (root / "tools/uv-1.2.3/uv").unlink()
    use_uv(root, "true")
    make(root)
    assert not leftover.exists()
    assert json.loads((root / "releases/r/env" / python_env.STAMP).read_text())["lock"] == LOCK["sha256"]


def test_a_release_without_uv_is_refused(root: Path) -> None:
    with pytest.raises(python_env.EnvError, match="no wheel of uv"):
        make(root, (OTHER,))


def test_a_broken_wheel_of_uv_is_reported(root: Path) -> None:
    Path(Paths(str(root)).artifact(UV["sha256"], UV["path"])).write_bytes(b"no zip")
    with pytest.raises(python_env.EnvError, match="contains no uv"):
        make(root)


def python_row(root: Path, *members: tuple[str, str], interpreter: str = "#!/bin/sh\necho 3.11.1\n") -> dict[str, Any]:
    """Add a Python's archive to the artifacts. Members are ``(name, link target)``. A script stands for Python."""
    file = root / "python.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        program = tarfile.TarInfo("python/bin/python3.11")
        program.size, program.mode = len(interpreter), 0o4755
        archive.addfile(program, io.BytesIO(interpreter.encode()))
        for name, target in (("python/bin/python3", "python3.11"), *members):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            archive.addfile(member)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    row = {"path": "python/cpython.tar.gz", "sha256": digest, "size": 1, "kind": "python", "name": "cpython-3.11"}
    place = Path(Paths(str(root)).artifact(digest, row["path"]))
    place.parent.mkdir(parents=True)
    file.rename(place)
    return {**row, "version": "3.11.1+20300101"}


def test_a_python_is_unpacked_once_and_again_if_it_is_damaged(root: Path) -> None:
    row = python_row(root)
    interpreter = Path(python_env.install_python(row, str(root)))
    assert interpreter == root / "tools/python-3.11.1+20300101/bin/python3.11"
    assert (interpreter.parent / "python3").readlink() == Path("python3.11")
    assert interpreter.stat().st_mode & 0o7777 == 0o755, "no set-user-id bit comes along"
    assert sorted(path.name for path in (root / "tools").iterdir()) == ["python-3.11.1+20300101"]
    before = interpreter.stat().st_ino
    python_env.install_python(row, str(root))
    assert interpreter.stat().st_ino == before
    interpreter.unlink()
    assert not python_env.has_python(row, str(root))
    python_env.install_python(row, str(root))
    assert python_env.has_python(row, str(root))


@pytest.mark.parametrize(
    "member",
    [
        ("python/../../evil", ""),
        ("/python/evil", ""),
        ("elsewhere/evil", ""),
        ("python/evil", "/etc/shadow"),
        ("python/evil", "../../../etc/shadow"),
        ("python/bin/python3/evil", ""),
    ],
    ids=lambda member: member[0] + member[1],
)
def test_an_archive_that_leaves_its_folder_is_refused_before_anything_is_written(
    root: Path, member: tuple[str, str]
) -> None:
    row = python_row(root, member)
    with pytest.raises(python_env.EnvError, match=r"lies outside its folder|leads through a link|twice"):
        python_env.install_python(row, str(root))
    assert not list((root / "tools").rglob("python3*"))


@pytest.mark.parametrize(
    "members",
    [
        # The text of the second target stays inside; its place on disk does not.
        [("python/bin/up", ".."), ("python/evil", "bin/up/../outside"), ("python/evil", "")],
        [("python/evil", "bin/up/../outside"), ("python/bin/up", "..")],
        [("python/bin/up", ".."), ("python/bin/up/evil", "")],
        [("python/a", "bin"), ("python/a", "")],
        [("python/./bin/python3.11", "")],
    ],
    ids=str,
)
def test_a_link_by_way_of_a_link_and_a_second_member_of_a_name_are_refused(
    root: Path, members: list[tuple[str, str]]
) -> None:
    (root / "tools").mkdir()
    (root / "tools" / "outside").write_text("precious")
    row = python_row(root, *members)
    with pytest.raises(python_env.EnvError, match="leads through a link|twice"):
        python_env.install_python(row, str(root))
    assert (root / "tools" / "outside").read_text() == "precious"


def test_a_hard_link_to_a_link_is_refused(root: Path) -> None:
    with tarfile.open(root / "links.tar", "w") as archive:
        for name, kind, target in (("python/a", tarfile.SYMTYPE, "b"), ("python/c", tarfile.LNKTYPE, "python/a")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    with tarfile.open(root / "links.tar") as archive, pytest.raises(python_env.EnvError, match="leads through a link"):
        python_env._checked(archive, "links.tar")


@pytest.mark.parametrize(
    ("program", "said"),
    [("#!/bin/sh\necho libc is too old >&2; exit 1\n", "libc is too old"), ("#!/bin/sh\necho 3.12.1\n", "3.12.1")],
)
def test_a_python_that_does_not_run_is_not_installed(root: Path, program: str, said: str) -> None:
    row = python_row(root, interpreter=program)
    with pytest.raises(python_env.EnvError, match=said):
        python_env.install_python(row, str(root))
    assert not (root / "tools/python-3.11.1+20300101").exists()


def test_a_changed_or_incomplete_archive_is_refused(root: Path) -> None:
    row = python_row(root)
    place = Path(Paths(str(root)).artifact(row["sha256"], row["path"]))
    data = place.read_bytes()
    place.write_bytes(data[: len(data) // 2])
    with pytest.raises(python_env.EnvError, match="changed since it was verified"):
        python_env.install_python(row, str(root))
    row = {**row, "sha256": hashlib.sha256(data[: len(data) // 2]).hexdigest()}
    cut = Path(Paths(str(root)).artifact(row["sha256"], row["path"]))
    cut.parent.mkdir()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(python_env.EnvError, match="cannot be unpacked as a complete archive"):
        python_env.install_python(row, str(root))


def test_a_changed_python_is_drift_of_its_releases_and_unpacked_again(root: Path) -> None:
    row = python_row(root, ("python/lib/os.py", ""))
    interpreter = python_env.install_python(row, str(root))
    folder = root / "releases/one"
    folder.mkdir(parents=True)
    python = {"version": "3.11", "path": interpreter, "artifact": row["sha256"]}
    release.seal(str(folder), {"id": "one", "python": python})
    library = Path(interpreter).parents[1] / "lib"
    # Files that Python compiles for itself are no drift.
    (library / "__pycache__").mkdir()
    assert release.drift(str(folder)) == ([], [], [])
    (library / "os.py").chmod(0o666)
    (library / "site.py").touch()
    assert release.drift(str(folder)) == ([], [f"{library}/os.py"], [f"{library}/site.py"])
    found = release.drift(str(folder))
    assert found is not None
    assert inventory.in_env(found)
    inventory.reopen(str(folder), found, "env/stamp")
    assert (library / "site.py").exists(), "the Python is replaced as a whole, not picked at"
    python_env.install_python(row, str(root))
    assert not (library / "site.py").exists()
    assert (library / "os.py").stat().st_mode & 0o777 == 0o644
    shutil.rmtree(library.parent)
    release.seal(str(folder), {"id": "one", "python": python})
    assert release.drift(str(folder)) == ([str(library.parent)], [], [])


@pytest.mark.parametrize(
    "harm", ["echo evil > {0}", "chmod 777 {0}", "rm {0}; ln -s /bin/true {0}", "chmod 777 {0}/.."]
)
def test_a_changed_uv_is_not_run(root: Path, harm: str) -> None:
    uv = Path(make(root))
    good = uv.read_bytes()
    subprocess.run(harm.format(uv), shell=True, check=False)
    assert make(root) == str(uv)
    assert uv.read_bytes() == good
    assert not uv.is_symlink()
    assert (uv.stat().st_mode & 0o777, uv.parent.stat().st_mode & 0o777) == (0o755, 0o755)


def test_uv_keeps_the_lock_of_a_killed_caller(root: Path) -> None:
    """The release's lock ends with uv, not with the module, so that the next run never meets a running uv."""
    use_uv(root, "while [ ! -e go ]; do sleep 0.05; done")
    folder = root / "releases/r"
    folder.mkdir(parents=True)
    code = (
        "import fcntl, os, sys; sys.path.insert(0, sys.argv[2]);"
        "from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import python_env;"
        "fd = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_EX); os.set_inheritable(fd, True);"
        f"python_env.make(sys.argv[1], '/usr/bin/python3.11', {LOCK!r}, {[UV, OTHER]!r}, '1.2.3', {str(root)!r})"
    )
    collections = str(Path(python_env.__file__).parents[6])
    module = subprocess.Popen([sys.executable, "-c", code, str(folder), collections])
    log = root / "uv.log"
    while not (folder / ".build/wheels").exists() or not log.exists() or "pip sync" not in log.read_text():
        assert module.poll() is None
        time.sleep(0.05)
    module.kill()
    module.wait()
    descriptor = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / ".build/go").touch()
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.close(descriptor)
