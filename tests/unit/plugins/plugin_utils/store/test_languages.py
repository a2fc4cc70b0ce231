# SPDX-License-Identifier: GPL-3.0-or-later
"""Languages: lock, store and release hold what a language needs only if it is configured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import preflight
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, closure, locks, store
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest, read_manifest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import parse_profile
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet.test_platforms import facts
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_store import (
    PROFILE,
    request_,
    write_wheel,
)

__all__ = ["request_"]  # the fixture

COMMITTED = sorted((Path(__file__).parents[5] / "roles/artifact_store/files/locks").glob("pylock.*.toml"))
JAPANESE = {"fugashi", "jaconv"}
MANDARIN = {"cn2an", "jieba", "ordered-set", "proces", "pypinyin", "pypinyin-dict"}


def names(lock: locks.Lock) -> set[str]:
    return {package.name for package in lock.packages}


def test_each_language_names_its_extras() -> None:
    assert catalogue.extras_for("abefhip") == ()
    assert catalogue.extras_for(["a", "z"]) == ("mandarin",)
    assert catalogue.extras_for(["j"]) == ("japanese", "japanese-light")
    assert catalogue.extras_for(["j", "z"], "full") == ("japanese", "japanese-full", "mandarin")
    with pytest.raises(ValueError, match="'huge'; choose light or full"):
        catalogue.extras_for(["j"], "huge")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_every_committed_lock_has_the_languages_packages_and_marks_them(path: Path) -> None:
    lock = locks.read_lock(path)
    assert lock.extras == catalogue.EXTRAS
    base = names(lock.with_extras([]))
    assert names(lock.with_extras(["japanese"])) - base == JAPANESE
    assert names(lock.with_extras(["japanese-light"])) - base == {"unidic-lite"}
    assert names(lock.with_extras(["mandarin"])) - base == MANDARIN
    # misaki imports these but does not use them, or they have no wheels. The repairs remove them.
    assert not {"pyopenjtalk", "mojimoji", "unidic"} & names(lock)
    parse_profile(path.name[7:-5])


def test_a_lock_without_extras_lists_none_and_one_with_extras_reads_back() -> None:
    lock = locks.read_lock(COMMITTED[0])
    plain = locks.render_lock(lock.with_extras([]), PROFILE)
    assert "extras" not in plain
    both = lock.with_extras(["japanese", "mandarin"])
    text = locks.render_lock(both, PROFILE)
    assert 'extras = ["japanese", "mandarin"]' in text
    assert "marker = \"'mandarin' in extras\"" in text
    assert locks.parse_lock(text, "t") == both


def test_a_package_of_two_extras_keeps_the_requested_ones() -> None:
    row = locks.LockedPackage("x", "1", "x-1-py3-none-any.whl", "https://h/x", "0" * 64, 1, ("japanese", "mandarin"))
    lock = locks.Lock("", (row,))
    text = locks.render_lock(lock, PROFILE)
    assert "marker = \"'japanese' in extras or 'mandarin' in extras\"" in text
    assert locks.parse_lock(text, "t") == lock
    assert lock.with_extras(["mandarin"]).packages == (replace(row, extras=("mandarin",)),)
    with pytest.raises(locks.LockError, match="no packages for klingon"):
        lock.with_extras(["klingon"])
    with pytest.raises(locks.LockError, match="create the lock again"):
        locks.parse_lock(text.replace(" or ", " and "), "t")


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(request_: store.Request, tmp_path: Path) -> store.Request:
    """A request whose lock has an extra package for each extra, and stand-ins for voices and dictionary."""
    wheels = tmp_path / "wheels"
    rows = [write_wheel(wheels, name, version) for name, version in (("spacy", "3.8.14"), ("xinference", "1.2.3"))]
    own = {"japanese": "fugashi", "japanese-light": "unidic-lite", "mandarin": "jieba"}
    rows += [replace(write_wheel(wheels, name, "1.0"), extras=(extra,)) for extra, name in own.items()]
    text = locks.render_lock(locks.Lock(">=3.11", tuple(sorted(rows, key=lambda row: row.name))), PROFILE)
    (request_.lock_folder / Path(PROFILE.lock_path).name).write_text(text)
    for voice in ("jf_alpha", "zf_xiaobei"):
        (tmp_path / "kokoro/voices" / f"{voice}.pt").write_bytes(voice.encode())
    dictionary = tmp_path / "dictionary"
    dictionary.mkdir()
    (dictionary / catalogue.UNIDIC.filename).write_bytes(b"words")
    (dictionary / store.SOURCE_MARKER).write_text(json.dumps({"source": "made-up"}))
    return replace(request_, dictionary_source=dictionary.as_uri(), voices=[])


def carried(path: Path, asked: store.Request, languages: str, voices: list[str], **more: Any) -> set[str]:
    request = replace(asked, languages=list(languages), voices=voices, **more)
    store.build(path, request, path.parent / "cache", lambda _line: None)
    assert store.verify(path) == []
    return {a.name for a in read_manifest(path)[0].artifacts if a.kind in ("wheel", "dictionary")}


def test_a_store_holds_only_what_its_languages_need(asked: store.Request, tmp_path: Path) -> None:
    path = tmp_path / "store"
    common = {"spacy", "xinference"}
    assert carried(path, asked, "a", ["af_heart"]) == common
    lock = (path / PROFILE.lock_path).read_text()
    assert "extras" not in lock
    assert carried(path, asked, "az", ["af_heart", "zf_xiaobei"]) == {*common, "jieba"}
    assert carried(path, asked, "j", ["jf_alpha"]) == {*common, "fugashi", "unidic-lite"}
    assert carried(path, asked, "j", ["jf_alpha"], japanese_dictionary="full") == {*common, "fugashi", "unidic"}
    assert carried(path, asked, "a", ["af_heart"]) == common
    assert (path / PROFILE.lock_path).read_text() == lock
    assert not (path / "dictionaries" / catalogue.UNIDIC.filename).exists()


def test_a_release_of_one_language_has_nothing_for_other_languages(asked: store.Request, tmp_path: Path) -> None:
    carried(tmp_path / "store", asked, "ajz", ["af_heart", "jf_alpha", "zf_xiaobei"])
    manifest, _digest = read_manifest(tmp_path / "store")

    def release(languages: str) -> set[str]:
        extras = catalogue.extras_for(languages)
        rows = manifest.for_release(PROFILE.name, [], [], None, extras)
        return {row.name for row in rows if row.kind == "wheel"}

    assert release("a") == {"spacy", "xinference"}
    assert release("z") == {"spacy", "xinference", "jieba"}
    assert release("aj") == {"spacy", "xinference", "fugashi", "unidic-lite"}
    (lock,) = manifest.of_kind("lock")
    assert lock.extras == ("japanese", "japanese-light", "mandarin")
    assert lock in manifest.for_release(PROFILE.name, [], [])


def test_a_store_that_lacks_a_languages_packages_is_not_closed(asked: store.Request, tmp_path: Path) -> None:
    path = tmp_path / "store"
    carried(path, asked, "a", ["af_heart"])
    manifest, _digest = read_manifest(path)
    uv = store.find_uv(None, (), tmp_path)
    gaps = [str(gap) for gap in closure.find_gaps(path, manifest, uv, ["j"], (), (), catalogue.extras_for("j", "full"))]
    assert f"{PROFILE.name}: the lock has no packages for japanese" in gaps
    assert any(gap.startswith("j: dictionaries/unidic-3.1.0.zip is not in the store") for gap in gaps)
    assert [str(gap) for gap in closure.find_gaps(path, manifest, uv, ["z"])] == [
        f"{PROFILE.name}: the lock has no packages for mandarin"
    ]


# --- preflight --------------------------------------------------------------------------------------------------------

VOICES = ("af_heart", "ef_dora", "jf_alpha", "zf_xiaobei")


def manifest(*extras: str) -> Manifest:
    """A store with voices of four languages and one package or dictionary for each of some extras."""
    profiles = (PROFILE.name,)
    rows = [
        Artifact("locks/l.toml", "1" * 64, 1, "lock", PROFILE.name, "", profiles=profiles, extras=extras),
        Artifact("wheels/x.whl", "2" * 64, 1, "wheel", "xinference", "1.2.3", profiles=profiles),
        Artifact("spacy/m.tar.gz", "3" * 64, 1, "spacy-model", "en_core_web_sm", "3.8.0"),
        Artifact("kokoro/Kokoro-82M/config.json", "4" * 64, 1, "kokoro-config", "config", "1"),
        Artifact("kokoro/Kokoro-82M/kokoro-v1_0.pth", "5" * 64, 1, "kokoro-weights", "weights", "1"),
    ]
    rows += [Artifact(f"kokoro/{v}.pt", f"{i:064x}", 1, "kokoro-voice", v, "1") for i, v in enumerate(VOICES)]
    for number, extra in enumerate(extras, start=100):
        kind = "dictionary" if extra == catalogue.UNIDIC.extra else "wheel"
        rows.append(Artifact(f"{kind}/{extra}", f"{number:064x}", 1000, kind, extra, "1", extras=(extra,)))
    return Manifest(tuple(rows), profiles)


def judge(store_: Manifest, languages: str, **changes: Any) -> preflight.Verdict:
    held: dict[str, Any] = {"missing": [], "stale": [], "surplus": [], "arrived": 0}
    asked = {"voices": [], "root": "/opt/voicefleet", "home": "/var/lib/voicefleet", "port": 9997, **changes}
    wanted = preflight.Wanted(languages=list(languages), **asked)
    return preflight.judge(store_, "0" * 64, "/store", facts("Debian 12"), held, wanted, 0.0)


def planned(store_: Manifest, languages: str, **changes: Any) -> dict[str, Any]:
    plan = judge(store_, languages, **changes).plan
    assert plan is not None
    return plan.as_dict()


def test_a_plan_names_the_extras_the_repairs_and_only_its_own_files() -> None:
    full = manifest("japanese", "japanese-light", "mandarin")
    spanish = planned(full, "e")
    assert (spanish["extras"], spanish["patches"]) == ([], [])
    assert not {"japanese", "japanese-light", "mandarin"} & {row["name"] for row in spanish["artifacts"]}
    both = planned(full, "jz")
    assert both["extras"] == ["japanese", "japanese-light", "mandarin"]
    assert [patch["name"] for patch in both["patches"]] == [
        "kokoro-languages",
        "misaki-openjtalk",
        "misaki-mojimoji",
    ]
    assert spanish["release"]["id"] != both["release"]["id"]
    assert both["release"]["id"] in preflight.candidates(
        full, preflight.Wanted(["j", "z"], [], root="/o", home="/h", port=1)
    )


def test_the_full_dictionary_is_an_artifact_and_no_extra_of_the_lock() -> None:
    plan = planned(manifest("japanese", "japanese-full"), "j", japanese_dictionary="full")
    assert plan["extras"] == ["japanese"]
    assert [row["name"] for row in plan["artifacts"] if row["kind"] == "dictionary"] == ["japanese-full"]


@pytest.mark.parametrize(
    ("there", "languages", "dictionary", "lacking"),
    [
        ((), "z", "light", "nothing for mandarin; Mandarin Chinese cannot start"),
        (("japanese", "japanese-light"), "j", "full", "nothing for japanese-full; Japanese cannot start"),
        (("japanese", "japanese-full"), "aj", "light", "nothing for japanese-light; Japanese cannot start"),
    ],
)
def test_a_store_without_a_languages_packages_is_refused(
    there: tuple[str, ...], languages: str, dictionary: str, lacking: str
) -> None:
    (finding,) = judge(manifest(*there), languages, japanese_dictionary=dictionary).failures
    assert finding.code == "LANGUAGE"
    assert lacking in finding.cause
    assert "kokoro_japanese_dictionary" in finding.remedy


def test_a_voice_of_another_language_is_refused_with_the_nearest_configured_voices() -> None:
    (finding,) = judge(manifest(), "e", voices=["jf_alpha"]).failures
    assert finding.code == "VOICES"
    assert "'jf_alpha' speaks Japanese: add 'j' to kokoro_languages" in finding.cause
    assert "ef_dora" in finding.cause or "em_alex" in finding.cause
    (finding,) = judge(manifest(), "z", voices=["zf_xiaobi"]).failures
    assert "did you mean zf_xiaobei" in finding.cause
