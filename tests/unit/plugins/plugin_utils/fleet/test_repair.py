# SPDX-License-Identifier: GPL-3.0-or-later
"""The repair of a place adds what is missing and fits, changes no package, and reports all faults at once."""

from __future__ import annotations

import copy
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import repair
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest

ENGLISH = catalogue.SPACY_MODELS["en_core_web_sm"]
LINUX = "cp311-cp311-manylinux_2_28_x86_64"
# name, version, tag, requirements
WHEELS = (
    ("kokoro", "1.2", "py3-none-any", ("misaki[en]>=1.0", "torch", "loguru")),
    ("misaki", "1.1", "py3-none-any", ("regex", 'spacy; extra == "en"', 'pyopenjtalk; extra == "ja"')),
    ("spacy", "3.8.1", LINUX, ("numpy>=2",)),
    ("numpy", "2.1", LINUX, ()),
    ("soundfile", "1.0", "py3-none-any", ()),
    ("loguru", "1.0", "cp312-cp312-manylinux_2_28_x86_64", ()),
    ("regex", "1.0", LINUX, ()),
    ("uv", "1.0", "py3-none-manylinux_2_17_x86_64", ()),
)


def artifact(path: str, kind: str, name: str, size: int = 1000, **more: Any) -> Artifact:
    return Artifact(path, **{"sha256": path.encode().hex()[:64].ljust(64, "0"), "version": "1", **more}, size=size,
                    kind=kind, name=name)  # fmt: skip


MODEL = "kokoro/Kokoro-82M"


def manifest(store: Path) -> Manifest:
    """A store with real wheels, as far as their metadata goes."""
    rows = [
        artifact(f"{MODEL}/config.json", "kokoro-config", "config"),
        artifact(f"{MODEL}/kokoro-v1_0.pth", "kokoro-weights", "weights", 300_000_000),
        artifact(f"{MODEL}/voices/af_heart.pt", "kokoro-voice", "af_heart"),
        artifact(f"{MODEL}/voices/af_sky.pt", "kokoro-voice", "af_sky"),
        artifact(f"spacy/{ENGLISH.filename}", "spacy-model", ENGLISH.name, version=ENGLISH.version),
    ]
    (store / "wheels").mkdir(exist_ok=True)
    for name, version, tag, requires in WHEELS:
        path = f"wheels/{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(store / path, "w") as archive:
            lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
            archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join([*lines, "", "Requires-Dist: no\n"]))
        rows.append(artifact(path, "wheel", name, version=version, tags=(tag,)))
    return Manifest(tuple(rows))


REPORT: dict[str, Any] = {
    "python": {"version": "3.11.2", "implementation": "cpython", "machine": "x86_64", "libc": ["glibc", "2.36"]},
    "prefix": "/venv", "kind": "venv", "site": "/venv/site", "home": "/home", "container": False,
    "versions": {"xinference": "4.0.1", "kokoro": "1.2", "misaki": "1.1", "spacy": "3.8.1", "torch": "1"},
    "distributions": {"xinference": "4.0.1", "kokoro": "1.2", "misaki": "1.1", "spacy": "3.8.1", "torch": "1",
                      "numpy": "2.1", "soundfile": "1.0", "loguru": "1.0", "regex": "1.0"},
    "requires": {"kokoro": ["misaki[en]>=1.0", "torch", "loguru"], "misaki": ['spacy; extra == "en"', "regex"],
                 "torch": ["nvidia-anything"]},
    "storage": {"site": "disk", "home": "disk"}, "writable": {"site": True, "home": True, "prefix": True},
    "loads_settings": True, "settings": {}, "environments": [], "cache": True, "local_voices": True, "files": {},
    "patches": {}, "free": {"site": 10**12, "home": 10**12},
    "ledger": {"changes": 0, "file": "/venv/voicefleet-repair/ledger.json", "foreign": []},
}  # fmt: skip


def wanted(**changes: Any) -> repair.Wanted:
    values = {"languages": ["a"], "voices": ["af_heart"], "patches": patches.choose(["kokoro-eval"])}
    return repair.Wanted(**{**values, **changes})


def judged(store: Path, asked: repair.Wanted | None = None, **changes: Any) -> repair.Verdict:
    report = copy.deepcopy(REPORT)
    held = manifest(store)
    report["files"] = {row["to"]: "missing" for row in repair.wishes(held, asked or wanted())["files"]}
    for path, value in changes.items():
        *above, last = path.split("__")
        inner = report
        for name in above:
            inner = inner[name]
        inner[last] = value
    return repair.judge(held, "0" * 64, store, report, asked or wanted())


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in REPORT["distributions"].items() if name not in names}


def codes(verdict: repair.Verdict) -> set[str]:
    return {finding.code for finding in verdict.findings}


def test_a_place_with_all_packages_gets_the_spacy_model_the_files_and_the_settings(tmp_path: Path) -> None:
    verdict = judged(tmp_path)
    assert verdict.findings == []
    assert [row["name"] for row in verdict.plan["packages"]] == ["en_core_web_sm"]
    assert [row["to"] for row in verdict.plan["files"]] == [
        "home:cache/v2/Kokoro-82M/config.json", "home:cache/v2/Kokoro-82M/kokoro-v1_0.pth",
        "home:cache/v2/Kokoro-82M/voices/af_heart.pt",
    ]  # fmt: skip
    names = {row["name"] for row in verdict.plan["artifacts"]}
    assert names == {"config", "weights", "af_heart", "en_core_web_sm", "uv"}
    (settings,) = (row["text"] for row in verdict.plan["texts"] if row["to"] == repair.SETTINGS_FILE)
    assert '"XINFERENCE_ENABLE_VIRTUAL_ENV": "0"' in settings


def test_the_settings_file_sets_only_what_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("XINFERENCE_MODEL_SRC", raising=False)
    monkeypatch.setenv("XINFERENCE_ENABLE_VIRTUAL_ENV", "1")
    exec(repair.settings_text(repair.SETTINGS))
    assert (os.environ["HF_HUB_OFFLINE"], os.environ["XINFERENCE_MODEL_SRC"]) == ("0", "huggingface")


@pytest.mark.parametrize("settings", [{"A B": "1"}, {"A": "1\nimport x"}, {"A": "\u00e9"}])
def test_a_setting_that_is_no_variable_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(repair.Stop, match="is no environment variable"):
        repair.settings_text(settings)


def test_nothing_is_sent_to_a_place_that_has_everything(tmp_path: Path) -> None:
    files = {row["to"]: "right" for row in repair.wishes(manifest(tmp_path), wanted())["files"]}
    have = {**REPORT["distributions"], "en-core-web-sm": ENGLISH.version}
    verdict = judged(tmp_path, files=files, distributions=have)
    assert verdict.plan["artifacts"] == []
    assert verdict.findings == []


def test_missing_packages_come_from_fitting_wheels_with_all_that_they_need(tmp_path: Path) -> None:
    verdict = judged(tmp_path, distributions=without("kokoro", "misaki", "spacy", "numpy"), versions__spacy="")
    names = {row["name"] for row in verdict.plan["packages"]}
    assert names == {"kokoro", "misaki", "spacy", "numpy", "en_core_web_sm"}
    assert verdict.plan["spacy_version"] == "3.8.1"
    assert not verdict.errors


def test_a_wheel_for_another_python_is_named(tmp_path: Path) -> None:
    verdict = judged(tmp_path, distributions=without("kokoro", "loguru"))
    (finding,) = verdict.errors
    assert finding.code == "PACKAGE"
    assert "kokoro needs loguru, which is missing: the store's 1.0 does not fit" in finding.sentence


def test_a_package_that_exists_is_never_changed(tmp_path: Path) -> None:
    have = {**without("spacy"), "numpy": "1.26"}
    verdict = judged(tmp_path, distributions=have)
    (finding,) = verdict.errors
    assert finding.code == "VERSION"
    assert "spacy needs numpy>=2, but this place has 1.26" in finding.sentence
    assert "numpy" not in {row["name"] for row in verdict.plan["packages"]}


def test_a_misfit_among_the_operators_own_packages_is_a_warning(tmp_path: Path) -> None:
    verdict = judged(tmp_path, distributions={**REPORT["distributions"], "misaki": "0.7"})
    assert (codes(verdict), verdict.errors) == ({"VERSION"}, [])


@pytest.mark.parametrize(
    ("spacy", "error"), [("3.7.2", True), ("3.8.9", False), ("9.9", True)], ids=["older", "same minor", "unknown"]
)
def test_the_published_table_chooses_the_spacy_model(tmp_path: Path, spacy: str, error: bool) -> None:
    verdict = judged(tmp_path, distributions={**REPORT["distributions"], "spacy": spacy})
    assert [finding.code for finding in verdict.errors] == (["SPACY_MODEL"] if error else [])
    assert ("en_core_web_sm" in {row["name"] for row in verdict.plan["packages"]}) is not error


def test_a_spacy_model_of_another_version_stays(tmp_path: Path) -> None:
    verdict = judged(tmp_path, distributions={**REPORT["distributions"], "en-core-web-sm": "3.0.0"})
    (finding,) = verdict.findings
    assert (finding.code, finding.error) == ("SPACY_MODEL", False)
    assert "3.0.0 is installed. It stays as it is" in finding.sentence


@pytest.mark.parametrize(
    ("changes", "code", "error"),
    [
        ({"storage__site": "read-only"}, "READ_ONLY", True),
        ({"storage__home": "read-only"}, "READ_ONLY", True),
        ({"writable__home": False}, "WRITABLE", True),
        ({"storage__site": "layer", "container": True}, "LOST", False),
        ({"environments": ["v4/Qwen"]}, "ENVIRONMENTS", False),
        ({"settings": {"HF_HUB_OFFLINE": "0"}}, "SETTINGS", False),
        ({"loads_settings": False}, "SETTINGS", True),
        ({"cache": False}, "XINFERENCE", True),
        ({"versions__xinference": "1.9.0"}, "XINFERENCE", False),
        ({"python": {**REPORT["python"], "version": "3.13.1"}}, "PYTHON", False),
        ({"patches": {"kokoro-eval": "unknown"}}, "REPAIR", False),
        ({"free__home": 1000}, "DISK", True),
        ({"ledger__foreign": ["/x"]}, "LEDGER", False),
    ],
)
def test_what_is_special_about_a_place_is_reported(
    tmp_path: Path, changes: dict[str, Any], code: str, error: bool
) -> None:
    verdict = judged(tmp_path, **changes)
    assert (code, error) in {(finding.code, finding.error) for finding in verdict.findings}


def test_xinference_3_5_gets_what_fits_and_a_warning_for_the_rest(tmp_path: Path) -> None:
    """By its digests: kokoro-eval fits the file of 3.5, whisper-soundfile and start-local do not."""
    asked = wanted(patches=patches.choose(["kokoro-eval", "start-local", "whisper-soundfile"]))
    states = {"kokoro-eval": "published", "start-local": "unknown", "whisper-soundfile": "unknown"}
    verdict = judged(tmp_path, asked, versions__xinference="3.5.0", patches=states)
    assert not verdict.errors
    assert [str(finding) for finding in verdict.findings] == [
        "warning REPAIR: the repair start-local is left out: it is for another version of its file",
        "warning REPAIR: the repair whisper-soundfile is left out: it is for another version of its file",
    ]
    assert verdict.plan["files"] == judged(tmp_path).plan["files"]
    assert verdict.table[0].startswith("/venv (venv): Python 3.11.2, xinference 3.5.0")


def test_a_file_with_other_contents_is_reported_and_not_sent(tmp_path: Path) -> None:
    to = "home:cache/v2/Kokoro-82M/kokoro-v1_0.pth"
    files = {row["to"]: "right" for row in repair.wishes(manifest(tmp_path), wanted())["files"]}
    verdict = judged(tmp_path, files={**files, to: "other"})
    assert codes(verdict) == {"FILE"}
    assert "weights" not in {row["name"] for row in verdict.plan["artifacts"]}


def test_converted_files_need_consent(tmp_path: Path) -> None:
    held = Manifest(
        tuple(
            artifact(a.path, a.kind, a.name, source="converted") if a.kind == "kokoro-weights" else a
            for a in manifest(tmp_path).artifacts
        )
    )
    report = {**copy.deepcopy(REPORT), "files": {"home:cache/v2/Kokoro-82M/kokoro-v1_0.pth": "missing"}}
    for accept in (False, True):
        verdict = repair.judge(held, "", tmp_path, report, wanted(accept_unpublished=accept))
        assert [f.error for f in verdict.findings if f.code == "UNPUBLISHED"] == [not accept]


def test_only_the_chosen_parts_are_planned(tmp_path: Path) -> None:
    plan = judged(tmp_path, wanted(parts=["spacy"]), distributions=without("kokoro")).plan
    assert (plan["files"], plan["links"], plan["texts"], plan["patches"]) == ([], [], [], [])
    assert [row["name"] for row in plan["packages"]] == ["en_core_web_sm"]
    plan = judged(tmp_path, wanted(parts=["kokoro"]), distributions=without("kokoro")).plan
    assert plan["packages"] == []
    assert {row["kind"] for row in plan["artifacts"]} == {"kokoro-config", "kokoro-weights", "kokoro-voice"}


def test_the_hub_cache_leads_to_the_voices(tmp_path: Path) -> None:
    (link,) = judged(tmp_path).plan["links"]
    assert link["to"] == "home:huggingface/models--hexgrad--Kokoro-82M/snapshots/@main/voices/af_heart.pt"
    assert link["leads"] == "home:cache/v2/Kokoro-82M/voices/af_heart.pt"


def test_the_table_says_what_is_missing_and_what_would_ask_the_network(tmp_path: Path) -> None:
    table = judged(tmp_path, settings={"HF_HUB_OFFLINE": "1"}).table
    assert "missing voices: a: 1 (af_heart)" in table
    assert "would still ask the network: per-model environments, model source" in table
    assert any("missing packages: en_core_web_sm" in line for line in table)


def test_the_table_names_the_languages_that_need_a_missing_package(tmp_path: Path) -> None:
    asked = wanted(languages=["a", "e"], voices=[], parts=["packages", "spacy"])
    table = judged(tmp_path, asked, distributions=without("regex")).table
    # Spanish reads no English, but every language needs Kokoro's own packages.
    assert f"missing packages: en_core_web_sm {ENGLISH.version} (a), regex 1.0" in table


def test_the_evidence_has_the_same_name_before_and_after_a_repair(tmp_path: Path) -> None:
    before = judged(tmp_path, versions__kokoro="", distributions=without("kokoro")).plan["id"]
    assert judged(tmp_path).plan["id"] == before
    assert before.startswith("4.0.1-repaired-")


def test_musl_takes_no_wheels_for_glibc() -> None:
    tags = repair.tags_of({**REPORT["python"], "libc": ["", ""]})
    assert LINUX not in tags
    assert "py3-none-any" in tags
