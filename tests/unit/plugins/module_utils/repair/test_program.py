# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that acts inside a place, run by the Python of a small environment with a made-up Xinference."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.repair import place

Json = dict[str, Any]
KOKORO = "class KokoroModel:\n    def _resolve_voice(self): ...\n    model = KModel().to(1)\n"


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def site(prefix: Path) -> Path:
    return prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def add_package(prefix: Path, name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> None:
    """Put an installed package into an environment, with its RECORD."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    every = {**files, f"{info}/METADATA": "\n".join([*lines, *(f"Requires-Dist: {each}" for each in requires), ""])}
    every[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in every) + f"{info}/RECORD,,\n"
    for path, text in every.items():
        file = site(prefix) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment with Xinference and Kokoro, and the home of Xinference beside it."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    model = "xinference/model"
    files = {f"{model}/audio/kokoro.py": KOKORO, f"{model}/cache_manager.py": "", "xinference/__init__.py": ""}
    add_package(folder, "xinference", "4.0.0", files)
    add_package(folder, "kokoro", "1.2.4", {"kokoro/__init__.py": ""}, ("misaki[en]>=1.2.4", "torch"))
    (tmp_path / "home").mkdir()
    return folder


class Here:
    """The place of a test."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.home = prefix.parent / "home"
        self.place = place.Native(str(prefix / "bin" / "python"))
        self.sources: dict[str, str] = {}

    def source(self, data: str | bytes) -> str:
        """Keep some bytes as an artifact of the host, and return their digest."""
        data = data.encode() if isinstance(data, str) else data
        path = self.prefix.parent / digest(data)
        path.write_bytes(data)
        self.sources[digest(data)] = str(path)
        return digest(data)

    def file(self, to: str, data: str) -> Json:
        return {"to": to, "sha256": self.source(data), "size": len(data)}

    def do(self, what: str, **request: Any) -> Json:
        return self.place.run({"do": what, "home": str(self.home), **request}, self.sources)


@pytest.fixture
def here(prefix: Path) -> Here:
    return Here(prefix)


def every(here: Here) -> dict[str, tuple[str, int, int]]:
    """Each file below the environment and the home: digest or target, mode and time."""
    found = {}
    for folder in (here.prefix, here.home):
        for where, folders, names in os.walk(folder):
            for name in [*folders, *names]:
                path = os.path.join(where, name)
                status = os.lstat(path)
                if os.path.islink(path):
                    found[path] = (os.readlink(path), 0, 0)
                elif os.path.isdir(path):
                    found[path] = ("folder", status.st_mode, 0)
                else:
                    found[path] = (digest(Path(path).read_bytes()), status.st_mode, status.st_mtime_ns)
    return found


PATCH = {
    "name": "eval", "package": "xinference", "file": "xinference/model/audio/kokoro.py", "before": digest(KOKORO),
    "after": digest(KOKORO.replace("to(1)", "to(1).eval()")), "replacements": [["to(1)", "to(1).eval()"]],
    "added": {"xinference/voicefleet_extra.py": "x = 1\n"}, "reason": "dropout",
}  # fmt: skip
SETTINGS = {"to": "site:voicefleet-repair.pth", "text": "import os; os.environ.setdefault('HF_HUB_OFFLINE', '1')\n"}


def everything(here: Here) -> Json:
    """A request with each kind of change."""
    model = "home:cache/v2/Kokoro-82M"
    hub = "home:huggingface/models--hexgrad--Kokoro-82M"
    link = {"to": f"{hub}/snapshots/@main/voices/af.pt", "leads": f"{model}/voices/af.pt", "revision": "a" * 40}
    return {
        "files": [here.file(f"{model}/config.json", "{}"), here.file(f"{model}/voices/af.pt", "voice")],
        "links": [{**link, "ref": f"{hub}/refs/main"}],
        "texts": [SETTINGS, {"to": f"{hub}/refs/main", "text": "a" * 40, "keep": True}],
        "patches": [PATCH],
    }


def test_inspect_reports_what_is_there_and_changes_nothing(here: Here) -> None:
    before = every(here)
    report = here.do("inspect", roots=["kokoro"], files=[here.file("home:cache/v2/Kokoro-82M/config.json", "{}")])
    assert report["versions"] == {"xinference": "4.0.0", "kokoro": "1.2.4", "misaki": "", "spacy": "", "torch": ""}
    assert report["requires"] == {"kokoro": ["misaki[en]>=1.2.4", "torch"]}
    assert report["files"] == {"home:cache/v2/Kokoro-82M/config.json": "missing"}
    assert report["home"] == str(here.home)
    assert report["local_voices"] is report["cache"] is report["loads_settings"] is True
    assert report["writable"] == {"site": True, "home": True, "prefix": True}
    assert every(here) == before


def test_apply_makes_every_change_once(here: Here) -> None:
    request = everything(here)
    first = here.do("apply", **request)
    assert len(first["changed"]) == 6
    model = here.home / "cache" / "v2" / "Kokoro-82M"
    assert (model / "voices" / "af.pt").read_text() == "voice"
    linked = here.home / "huggingface" / "models--hexgrad--Kokoro-82M" / "snapshots" / ("a" * 40) / "voices" / "af.pt"
    assert linked.is_symlink()
    assert linked.read_text() == "voice"
    assert ".eval()" in (site(here.prefix) / "xinference/model/audio/kokoro.py").read_text()
    record = (site(here.prefix) / "xinference-4.0.0.dist-info/RECORD").read_text()
    assert "xinference/voicefleet_extra.py,sha256=" in record
    asked = [str(here.prefix / "bin/python"), "-c", "import os; print(os.environ['HF_HUB_OFFLINE'])"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "1\n"
    after = every(here)
    assert here.do("apply", **request)["changed"] == []
    assert every(here) == after
    assert here.do("inspect", patches=[PATCH])["patches"] == {"eval": "repaired"}


def test_check_mode_shows_every_change_and_makes_none(here: Here) -> None:
    before, request = every(here), everything(here)
    shown = here.do("apply", check=True, **request)["changed"]
    assert every(here) == before
    assert here.do("apply", **request)["changed"] == shown


def test_revert_restores_every_file_byte_for_byte(here: Here) -> None:
    code = site(here.prefix) / "xinference/model/audio/kokoro.py"
    os.utime(code, ns=(1, 1_600_000_000_000_000_000))
    subprocess.run([here.place.python, "-m", "py_compile", str(code)], check=True)
    before = every(here)
    here.do("apply", **everything(here))
    # The service starts: Python writes the byte code of the repaired file again.
    subprocess.run([here.place.python, "-m", "compileall", "-qf", str(site(here.prefix) / "xinference")], check=True)
    changed = here.do("revert", check=True)["changed"]
    assert str(code) in changed
    assert set(here.do("revert")["changed"]) >= {str(code)}
    there = every(here)
    written = {path for path in there if path.endswith((".pyc", "__pycache__"))} - set(before)
    assert {path: state for path, state in there.items() if path not in written} == before
    assert here.do("revert")["changed"] == []


def test_revert_refuses_what_somebody_changed_since(here: Here) -> None:
    here.do("apply", **everything(here))
    code = site(here.prefix) / "xinference/model/audio/kokoro.py"
    code.write_text("mine\n")
    after = every(here)
    with pytest.raises(place.PlaceError, match="somebody changed these files after the repair: .*kokoro.py"):
        here.do("revert")
    assert every(here) == after


def test_revert_refuses_damaged_former_bytes(here: Here) -> None:
    here.do("apply", **everything(here))
    (here.prefix / "voicefleet-repair" / "former" / digest(KOKORO)).write_text("other")
    with pytest.raises(place.PlaceError, match="former bytes of .*kokoro.py are damaged"):
        here.do("revert")


def test_a_killed_repair_continues_and_can_be_reverted(here: Here) -> None:
    before, request = every(here), everything(here)
    del here.sources[request["files"][1]["sha256"]]
    with pytest.raises(place.PlaceError):
        here.do("apply", **request)
    assert here.home.joinpath("cache/v2/Kokoro-82M/config.json").exists()
    here.source("voice")
    here.do("apply", **request)
    here.do("revert")
    left = {path for path in every(here) if not path.endswith((".pyc", "__pycache__"))}
    assert left == set(before)


def test_a_repair_that_ended_before_its_first_change_leaves_nothing_after_absent(here: Here) -> None:
    before = every(here)
    incoming = here.prefix / "voicefleet-repair" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / ("a" * 64)).write_text("weights")
    assert here.do("revert", check=True)["changed"] == [str(incoming.parent)]
    assert here.do("revert")["changed"] == [str(incoming.parent)]
    assert every(here) == before
    assert here.do("revert")["changed"] == []


def test_the_ledger_owes_a_restart_until_it_is_settled(here: Here) -> None:
    request = everything(here)
    assert here.do("apply", check=True, **request)["owed"] is True
    assert here.do("apply", **request)["owed"] is True
    # The restart failed. The next run changes nothing, and still has to restart.
    again = here.do("apply", **request)
    assert (again["changed"], again["owed"]) == ([], True)
    assert here.do("settle", check=True)["owed"] is True
    assert here.do("settle")["owed"] is False
    assert here.do("settle")["changed"] == []
    assert here.do("apply", **request)["owed"] is False
    # A file that is repaired once more is a change, too.
    (site(here.prefix) / "xinference/model/audio/kokoro.py").write_text(KOKORO)
    assert here.do("apply", **request)["owed"] is True


def test_a_ledger_that_knows_nothing_of_restarts_owes_none(here: Here) -> None:
    here.do("apply", **everything(here))
    file = here.prefix / "voicefleet-repair" / "ledger.json"
    held = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in held.items() if name != "owed"}))
    assert here.do("apply", **everything(here))["owed"] is False


def test_a_revert_remembers_the_restart_that_follows(here: Here) -> None:
    before = every(here)
    here.do("apply", **everything(here))
    assert here.do("revert", keep=True)["owed"] is True
    folder = here.prefix / "voicefleet-repair"
    left = {path: state for path, state in every(here).items() if not path.startswith(str(folder))}
    assert left == before
    assert [path.name for path in folder.iterdir()] == ["ledger.json"]
    again = here.do("revert", keep=True)
    assert (again["changed"], again["owed"]) == ([str(folder)], True)
    here.do("settle")
    assert every(here) == before
    assert here.do("revert", keep=True)["owed"] is False


def test_a_second_repair_does_not_work_beside_a_running_one(here: Here) -> None:
    folder = here.prefix / "voicefleet-repair"
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    for what in ("apply", "revert"):
        with pytest.raises(place.PlaceError, match="another repair of this place is running"):
            here.do(what, **everything(here))
    os.close(held)
    assert len(here.do("apply", **everything(here))["changed"]) == 6


def test_check_mode_of_a_revert_names_what_the_revert_changes(here: Here) -> None:
    here.do("apply", **everything(here))
    (here.home / "cache" / "v2" / "Kokoro-82M" / "mine.txt").write_text("x")
    shown = here.do("revert", check=True)["changed"]
    assert str(here.home / "cache") not in shown
    assert shown == here.do("revert")["changed"]


def test_a_dangling_link_is_replaced_in_one_step_and_comes_back(here: Here) -> None:
    voice = here.home / "huggingface/models--hexgrad--Kokoro-82M/snapshots" / ("a" * 40) / "voices/af.pt"
    voice.parent.mkdir(parents=True)
    voice.symlink_to("gone")
    before = every(here)
    here.do("apply", **everything(here))
    assert voice.read_text() == "voice"
    here.do("revert")
    assert every(here) == before


def test_the_services_own_variables_are_reported(here: Here) -> None:
    own = {"XINFERENCE_MODEL_SRC": "modelscope", "SECRET": "x"}
    assert here.do("inspect", environment=own)["settings"] == {"XINFERENCE_MODEL_SRC": "modelscope"}


def test_a_conda_prefix_is_named(here: Here) -> None:
    assert here.do("inspect")["kind"] == "venv"
    (here.prefix / "conda-meta").mkdir()
    assert here.do("inspect")["kind"] == "conda"


def test_a_file_with_other_bytes_stays(here: Here) -> None:
    own = here.home / "cache" / "v2" / "Kokoro-82M" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    request = everything(here)
    assert here.do("inspect", files=request["files"])["files"]["home:cache/v2/Kokoro-82M/config.json"] == "other"
    here.do("apply", **request)
    assert own.read_text() == "mine"


def test_an_unknown_file_is_not_repaired(here: Here) -> None:
    code = site(here.prefix) / "xinference/model/audio/kokoro.py"
    code.write_text("another version\n")
    assert here.do("inspect", patches=[PATCH])["patches"] == {"eval": "unknown"}
    assert here.do("apply", patches=[PATCH])["changed"] == []
    assert code.read_text() == "another version\n"


def test_wrong_bytes_are_not_kept(here: Here) -> None:
    row = here.file("home:cache/v2/Kokoro-82M/config.json", "{}")
    Path(here.sources[row["sha256"]]).write_text("[]")
    with pytest.raises(place.PlaceError, match="arrived with other bytes"):
        here.do("apply", files=[row])
    assert not here.home.joinpath("cache/v2/Kokoro-82M/config.json").exists()


@pytest.mark.parametrize("to", ["home:../x", "home:/etc/x", "etc:x", "site:", "home:a/../../x"])
def test_a_path_outside_the_place_is_refused(here: Here, to: str) -> None:
    with pytest.raises(place.PlaceError, match="is no path in a place"):
        here.do("apply", texts=[{"to": to, "text": "x"}])


def test_a_hub_cache_that_exists_keeps_its_revision(here: Here) -> None:
    hub = here.home / "huggingface" / "models--hexgrad--Kokoro-82M"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("b" * 40)
    here.do("apply", **everything(here))
    assert (hub / "refs" / "main").read_text() == "b" * 40
    assert (hub / "snapshots" / ("b" * 40) / "voices" / "af.pt").read_text() == "voice"


def test_a_python_without_xinference_is_refused(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(place.PlaceError, match="has no Xinference. Nothing was changed"):
        place.Native(str(tmp_path / "bare/bin/python")).run({"do": "inspect"})


def stand_in_uv(folder: Path) -> bytes:
    """A program that unpacks wheels as ``uv pip install --target`` does."""
    return f"""#!{sys.executable}
import sys, zipfile, re, pathlib
listed, target = sys.argv[sys.argv.index("--requirement") + 1], sys.argv[sys.argv.index("--target") + 1]
assert {{"--offline", "--no-deps", "--require-hashes", "--no-build"}} <= set(sys.argv)
wheels = pathlib.Path(sys.argv[sys.argv.index("--find-links") + 1])
for line in open(listed):
    name, version = re.match("(.*)==(.*) --hash=sha256:", line).groups()
    zipfile.ZipFile(next(wheels.glob(f"{{name}}-{{version}}-*.whl"))).extractall(target)
    pathlib.Path(target, "bin").mkdir(exist_ok=True)
    script = pathlib.Path(target, "bin", "extra")
    script.write_text("#!x\\n")
    script.chmod(0o755)
pathlib.Path(target, ".lock").touch()
""".encode()


def wheel(here: Here, name: str, version: str) -> Json:
    path = here.prefix.parent / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "x = 1\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\nbin/extra,,\n{info}/RECORD,,\n")
    return {"name": name, "version": version, "file": path.name, "sha256": here.source(path.read_bytes())}


def test_missing_packages_are_installed_and_removed_again(here: Here) -> None:
    before = every(here)
    uv = here.source(stand_in_uv(here.prefix))
    rows = [wheel(here, "extra", "1.0"), wheel(here, "kokoro", "9.9")]
    shown = here.do("apply", check=True, packages=rows, uv=uv)["changed"]
    # kokoro is installed, so it stays as it is.
    assert shown == here.do("apply", packages=rows, uv=uv)["changed"] == ["install extra 1.0"]
    assert here.do("inspect")["distributions"]["extra"] == "1.0"
    assert here.do("inspect")["distributions"]["kokoro"] == "1.2.4"
    record = (site(here.prefix) / "extra-1.0.dist-info" / "RECORD").read_text()
    assert "../../../bin/extra,," in record
    assert os.access(here.prefix / "bin" / "extra", os.X_OK)
    assert list((site(here.prefix) / "extra" / "__pycache__").glob("*.pyc"))
    assert here.do("apply", packages=rows, uv=uv)["changed"] == []
    here.do("revert")
    assert every(here) == before


def test_a_package_counts_as_installed_only_when_all_its_files_are_there(here: Here) -> None:
    """A run that is killed before the last file of a package must be continued by the next."""
    before = every(here)
    request = {"packages": [wheel(here, "extra", "1.0")], "uv": here.source(stand_in_uv(here.prefix))}
    info = site(here.prefix) / "extra-1.0.dist-info"
    here.do("apply", **request)
    last = max(path.stat().st_ctime_ns for path in info.iterdir())
    assert (info / "METADATA").stat().st_ctime_ns == last
    (info / "METADATA").unlink()
    assert here.do("apply", **request)["changed"] == ["install extra 1.0"]
    here.do("revert")
    assert every(here) == before


def test_a_package_replaces_no_foreign_file(here: Here) -> None:
    (site(here.prefix) / "extra").mkdir()
    (site(here.prefix) / "extra" / "__init__.py").write_text("mine\n")
    before = every(here)
    request = {"packages": [wheel(here, "extra", "1.0")], "uv": here.source(stand_in_uv(here.prefix))}
    with pytest.raises(place.PlaceError, match="would replace .*extra/__init__.py.*Nothing was installed"):
        here.do("apply", **request)
    assert every(here) == before


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user can enter. Those of pytest are closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_acts_as_the_owner_of_the_home(here: Here, open_to_all: Path) -> None:
    """The service owns its home. A link in it must not lead root elsewhere."""
    here.home = open_to_all / "home"
    here.home.mkdir()
    os.chown(here.home, 1234, 1235)
    target = open_to_all / "closed"
    target.mkdir(0o700)
    (here.home / "cache").symlink_to(target)
    with pytest.raises(place.PlaceError, match="Permission denied"):
        here.do("apply", files=[here.file("home:cache/v2/Kokoro-82M/config.json", "{}")])
    assert list(target.iterdir()) == []
    (here.home / "cache").unlink()
    here.do("apply", files=[here.file("home:cache/v2/Kokoro-82M/config.json", "{}")])
    status = (here.home / "cache/v2/Kokoro-82M/config.json").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)


def test_the_ledger_is_for_its_owner_alone(here: Here) -> None:
    here.do("apply", **everything(here))
    folder = here.prefix / "voicefleet-repair"
    assert folder.stat().st_mode & 0o777 == 0o700
    changes = json.loads((folder / "ledger.json").read_text())["changes"]
    assert {"path", "before", "after", "as"} == set(changes[0])
    assert not (folder / "incoming").exists()
