# SPDX-License-Identifier: GPL-3.0-or-later
"""``bin/refresh``: what is committed is up to date, every kind of staleness is told, and upstream is taken over."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, datafile
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.locks import Lock

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="tools run on the developer's machine")


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "tools/refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def uv(tmp_path: Path) -> str:
    """The environment's uv, or where there is none a program that knows the pinned builds."""
    found = Path(sys.executable).parent / "uv"
    if found.exists():
        return str(found)
    rows = [uv_row(build.version, build.date, build.architecture) for build in catalogue.PYTHONS.values()]
    return uv_with(tmp_path, rows)


def uv_row(version: str, date: str, machine: str, libc: str = "gnu") -> dict[str, str]:
    url = f"https://h/{date}/cpython-{version}%2B{date}-{machine}-unknown-linux-{libc}-install_only_stripped.tar.gz"
    return {"key": f"cpython-{version}-linux-{machine}-{libc}", "url": url, "variant": "default", "version": version}


def uv_with(folder: Path, rows: list[dict[str, str]]) -> str:
    """A uv that lists these builds of the version that it is asked for."""
    program = folder / "uv"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"print(json.dumps([row for row in {rows!r} if row['version'].startswith(sys.argv[3] + '.')]))\n"
    )
    program.chmod(0o755)
    return str(program)


def locked(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, **change: object) -> None:
    """Have the locks hold a package in another way."""
    held: dict[str, Lock] = {
        profile: dataclasses.replace(
            lock,
            packages=tuple(dataclasses.replace(p, **change) if p.name == name else p for p in lock.packages),  # type: ignore[arg-type]
        )
        for profile, lock in tool.committed().items()
    }
    monkeypatch.setattr(tool, "committed", lambda: held)


def test_every_committed_file_is_up_to_date(tool: ModuleType, uv: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Needs no network. Says what to refresh where it fails."""
    status = tool.main(["--check", "--uv", uv])
    said = capsys.readouterr().out
    assert status == 0, said
    assert said.count(": up to date") == len(tool.PARTS)


@pytest.mark.parametrize(
    ("part", "package", "change", "said"),
    [
        ("locks", "xinference", {"version": "9.9"}, "xinference 9.9; the requirements pin "),
        ("locks", "kokoro", {"size": 1}, "is not as bin/refresh writes it"),
        ("spacy", "spacy", {"version": "9.9.1"}, "the lock has 9.9.1"),
        ("gpu", "torch", {"version": "9.9"}, "gpu.json does not know torch 9.9 for CUDA "),
        ("gpu", "nvidia-cuda-runtime", {"version": "99.0.1"}, "for CUDA 99.0"),
        ("phonemes", "misaki", {"version": "9.9"}, "misaki 9.9; the phonemes were made with "),
        ("phonemes", "jieba", {"version": "9.9"}, "jieba 9.9; the phonemes were made with "),
        ("repairs", "misaki", {"sha256": "0" * 64}, "the repairs of misaki were made for another wheel"),
    ],
)
def test_a_new_lock_makes_dependent_files_stale(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    package: str,
    change: dict[str, object],
    said: str,
) -> None:
    locked(tool, monkeypatch, package, **change)
    assert tool.main(["--check", part]) == 1
    assert said in capsys.readouterr().out


def test_languages_that_do_not_fit_together_are_reported(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    languages = {**catalogue.LANGUAGES, "x": catalogue.Language("x", "Xhosa", ("xh_core",), ("clicks",))}
    monkeypatch.setattr(catalogue, "LANGUAGES", languages)
    said = "\n".join(tool.stale_kokoro("uv"))
    for words in ("letter 'x'", "Xhosa needs xh_core", "Xhosa needs clicks"):
        assert words in said


def test_an_outdated_page_is_reported_and_written(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("docs", "molecule", "requirements", "tools", "roles/artifact_store/files/locks", "roles/monitoring"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    (tmp_path / "docs/versions.md").write_text("# Versions\n")
    assert [line.split()[0] for line in tool.stale_pages("uv")] == ["docs/versions.md"]
    assert len(list(tool.write_pages("uv", False))) == 1
    assert (tmp_path / "docs/versions.md").read_text() == "# Versions\n"
    list(tool.write_pages("uv", True))
    assert (tmp_path / "docs/versions.md").read_text() == (ROOT / "docs/versions.md").read_text()


def test_an_unknown_part_is_refused(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tool.main(["voices"])
    assert "no part voices; the parts are locks, spacy" in capsys.readouterr().err


# --- upstream


def table(**spacy: dict[str, list[str]]) -> bytes:
    return json.dumps({"spacy": {name.replace("_", "."): models for name, models in spacy.items()}}).encode()


@pytest.fixture
def data(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the store's data files, which may be written."""
    shutil.copytree(tool.STORE_DATA, tmp_path / "data")
    monkeypatch.setattr(tool, "STORE_DATA", tmp_path / "data")
    return tmp_path / "data"


def answers(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, found: dict[str, bytes] | bytes) -> None:
    """Play the publishers: one answer for all, or one for each end of an address; others are unreachable."""

    def fetch(url: str) -> bytes:
        if isinstance(found, bytes):
            return found
        for end, content in found.items():
            if url.endswith(end):
                return content
        raise OSError("unreachable")

    monkeypatch.setattr(tool, "fetch", fetch)


def test_only_the_catalogues_models_and_released_versions_are_kept(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    published = table(
        **{"4_0": {"en_core_web_sm": ["4.0.1", "4.0.0"], "de_core_news_sm": ["4.0.0"]}},
        **{"4_0_0.dev0": {"en_core_web_sm": ["4.0.0a1"]}, "3_9": {"de_core_news_sm": ["3.9.0"]}},
        **{"3_7": {"en_core_web_trf": ["3.7.3"], "en_core_web_sm": ["3.7.1"]}},
    )
    answers(tool, monkeypatch, published)
    before = datafile.read(data / "spacy_compatibility.json")
    assert len(list(tool.ask_spacy("uv", False))) == 1
    assert datafile.read(data / "spacy_compatibility.json") == before
    assert len(list(tool.ask_spacy("uv", True))) == 1
    assert datafile.read(data / "spacy_compatibility.json") == {
        **before,
        "spacy": {
            "4.0": {"en_core_web_sm": ["4.0.1", "4.0.0"]},
            "3.7": {"en_core_web_sm": ["3.7.1"], "en_core_web_trf": ["3.7.3"]},
        },
    }
    assert list(tool.ask_spacy("uv", True)) == []


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"spacy": {}}', b'{"spacy": 1}'])
def test_an_invalid_table_changes_nothing(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Path, answer: bytes
) -> None:
    before = (data / "spacy_compatibility.json").read_bytes()
    answers(tool, monkeypatch, answer)
    assert ["stays" in line for line in tool.ask_spacy("uv", True)] == [True]
    assert (data / "spacy_compatibility.json").read_bytes() == before


def test_an_unreachable_publisher_is_reported(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, uv: str
) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    repairs = tmp_path / "patch_data.py"
    shutil.copy(tool.REPAIRS, repairs)
    monkeypatch.setattr(tool, "REPAIRS", repairs)
    answers(tool, monkeypatch, {})
    for ask in (tool.ask_spacy, tool.ask_kokoro, tool.ask_pythons, tool.ask_engine, tool.ask_repairs):
        said = list(ask(uv, True))
        assert said
        assert all("could not be read" in line and "unreachable" in line for line in said)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    assert repairs.read_bytes() == (ROOT / "plugins/module_utils/release/patch_data.py").read_bytes()


def test_kokoros_files_are_compared_with_those_of_the_hub(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = {}
    for model in catalogue.MANDARIN_MODELS.values():
        rows = [{"path": f"voices/{voice}.pt", "lfs": {"oid": digest}} for voice, digest in model.voices.items()]
        rows += [{"path": model.weights[0], "lfs": {"oid": model.weights[1]}}, {"path": "README.md"}]
        trees[f"/{model.repository}/tree/{model.revision}?recursive=true"] = rows
    for hearing in catalogue.HEARING_MODELS.values():
        weights = "model.safetensors"
        trees[f"/{hearing.repository}/tree/{hearing.revision}?recursive=true"] = [
            {"path": weights, "lfs": {"oid": hearing.files[weights]}}
        ]
    found = {end: json.dumps(rows).encode() for end, rows in trees.items()}
    answers(tool, monkeypatch, found)
    assert list(tool.ask_kokoro("uv", True)) == []
    first = next(iter(trees))
    trees[first][0]["lfs"] = {"oid": "0" * 64}
    del trees[first][1]
    answers(tool, monkeypatch, {**found, first: json.dumps(trees[first]).encode()})
    one, two = tool.ask_kokoro("uv", True)
    assert one.endswith(f"the hub has {'0' * 64}")
    assert two.endswith("the hub has no such file")


def test_a_newer_python_is_adopted_with_its_published_digest(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    targets = [(machine, libc) for machine in ("x86_64", "aarch64") for libc in ("musl", "gnu")]
    rows = [uv_row("3.11.99", "20300101", machine, libc) for machine, libc in targets]
    rows += [uv_row(b.version, b.date, b.architecture) for b in catalogue.PYTHONS.values()]
    uv = uv_with(tmp_path, rows)
    assert [line.split(" is pinned")[0] for line in tool.stale_pythons(uv)] == [
        "Python 3.11 for x86_64", "Python 3.11 for aarch64",
    ]  # fmt: skip
    builds = [b for b in catalogue.PYTHONS.values() if b.feature != "3.11"]
    fresh = catalogue.PythonBuild("3.11.99", "20300101", "x86_64", "f" * 64)
    sums: dict[str, bytes] = {}
    for b in (*builds, fresh):
        end = f"/{b.date}/SHA256SUMS"
        sums[end] = sums.get(end, b"") + f"{b.sha256}  {b.filename}\n".encode()
    answers(tool, monkeypatch, sums)
    said = list(tool.ask_pythons(uv, True))
    assert [line.endswith(f"-> {fresh.filename}") for line in said] == [True, False]
    assert "has no cpython-3.11.99+20300101-aarch64" in said[1]
    table = datafile.rows(catalogue.PythonBuild, datafile.read(data / "pythons.json"), "builds", "pythons.json")
    assert fresh in table
    assert len(table) == len(catalogue.PYTHONS)
    assert {build.sha256 for build in table} - {fresh.sha256} < {b.sha256 for b in catalogue.PYTHONS.values()}


def engine_page(version: str, pythons: tuple[str, ...], **more: object) -> bytes:
    """The registry's page of a release of the engine: wheels for glibc, and one for musl."""
    targets = [f"{python}-manylinux_2_28_{machine}" for python in pythons for machine in ("x86_64", "aarch64")]
    names = [
        f"libtorrent-{version}-{target.partition('-')[0]}-{target}.whl"
        for target in [*targets, "cp313-musllinux_1_2_x86_64"]
    ]
    rows = [
        {
            "filename": name,
            "size": 7,
            "url": f"https://h/{name}",
            "digests": {"sha256": "f" * 64},
            "yanked": False,
            **more,
        }
        for name in names
    ]
    return json.dumps({"info": {"version": version}, "urls": rows}).encode()


PYTHONS_OF_ENGINE = tuple(dict.fromkeys(python for python, _machine in catalogue.ENGINES))


def test_a_newer_engine_is_adopted_with_its_published_digests(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    answers(tool, monkeypatch, engine_page("99.0", (*PYTHONS_OF_ENGINE, "cp314")))
    before = (data / "engine.json").read_text()
    assert list(tool.ask_engine("uv", False)) == [f"libtorrent: {catalogue.ENGINE_VERSION} -> 99.0"]
    assert (data / "engine.json").read_text() == before
    list(tool.ask_engine("uv", True))
    found = datafile.read(data / "engine.json")
    builds = datafile.rows(catalogue.Engine, found, "builds", "engine.json")
    assert (found["version"], len(builds)) == ("99.0", len(catalogue.ENGINES) + 2)
    assert [build.python for build in builds][:6] == [*PYTHONS_OF_ENGINE, "cp314"]
    assert {build.sha256 for build in builds} == {"f" * 64}
    assert all(tool.engine_wheel(build.filename) for build in builds)
    assert list(tool.ask_engine("uv", True)) == []


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (engine_page("99.0", PYTHONS_OF_ENGINE[1:]), f"99.0 has no wheel for {PYTHONS_OF_ENGINE[0]} on "),
        (engine_page("99.0", PYTHONS_OF_ENGINE, yanked=True), "99.0 has no wheel for "),
        (b"<html>", "Expecting value"),
        (b"{}", "info"),
    ],
)
def test_a_release_of_the_engine_that_lacks_a_wheel_is_not_adopted(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Path, page: bytes, why: str
) -> None:
    before = (data / "engine.json").read_text()
    answers(tool, monkeypatch, page)
    (said,) = tool.ask_engine("uv", True)
    assert "engine.json stays" in said
    assert why in said
    assert (data / "engine.json").read_text() == before


def test_a_pin_of_the_engine_that_differs_from_its_wheels_is_reported(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "ENGINE_VERSION", "99.0")
    builds = dict(list(catalogue.ENGINES.items())[1:])
    monkeypatch.setattr(catalogue, "ENGINES", builds)
    said = list(tool.stale_engine("uv"))
    assert sum("is no wheel of 99.0 for " in line for line in said) == len(builds)
    assert sum(line.startswith("engine.json has no wheel for ") for line in said) == 1
    assert said[-1].endswith("engine.json 99.0: make them equal")


def wheel(**files: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


def test_a_repair_is_adopted_if_it_fits_the_locked_wheel(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def digest(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    patch = next(iter(patches.CATALOGUE.values()))._replace(
        name="r", package="misaki", file="f", old="a", new="b", more=(), before=digest(b"xa"), after=digest(b"xb")
    )
    monkeypatch.setattr(patches, "CATALOGUE", {"r": patch})
    monkeypatch.setattr(tool.patch_data, "WHEELS", {"misaki": "1" * 64})
    monkeypatch.setattr(tool, "REPAIRS", tmp_path / "data.py")
    for content, problem in ((b"ya", "r: f has the sha256"), (b"xa", "the repairs fit")):
        (tmp_path / "data.py").write_text(f'WHEELS = {{"misaki": "{"1" * 64}"}}\n')
        file = wheel(f=content)
        locked(tool, monkeypatch, "misaki", sha256=digest(file))
        answers(tool, monkeypatch, file)
        (said,) = tool.ask_repairs("uv", True)
        assert problem in said
        assert (digest(file) in (tmp_path / "data.py").read_text()) == (content == b"xa")
    answers(tool, monkeypatch, b"another")
    (said,) = tool.ask_repairs("uv", True)
    assert "does not have the locked digest" in said
