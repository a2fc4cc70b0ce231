# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll back only to a complete release. A refusal gives the reason and names the complete ones."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import plan as plans, release

VOICE = {"kind": "kokoro-voice", "path": "kokoro/Kokoro-82M/voices/af_heart.pt", "size": 5, "sha256": "1", "name": "v"}
WEIGHTS = {"kind": "kokoro-weights", "path": "kokoro/Kokoro-82M/w.pth", "size": 5, "sha256": "2", "name": "w"}
WHEEL = {"kind": "wheel", "path": "wheels/torch.whl", "size": 9, "sha256": "3", "name": "torch"}
CONTENTS: dict[str, Any] = {
    "made": 1,
    "manifest_sha256": "m",
    "profile": "cpu-py311-x86_64",
    "python": {"version": "3.11", "path": "/usr/bin/python3.11", "artifact": None},
    "model": {"name": "Kokoro-82M"},
    "languages": ["a"],
    "voices": ["af_heart"],
    "unpublished": {},
    "artifacts": [VOICE, WEIGHTS, WHEEL],
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(str(tmp_path))
    for name in ("one", "two"):
        make(found, name)
    release.switch(found, "two")
    return found


def make(paths: Paths, name: str) -> Path:
    folder = Path(paths.release(name))
    model = folder / "models" / "Kokoro-82M"
    for file in (model / "config.json", model / "w.pth", model / "voices/af_heart.pt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("12345")
    for file in (folder / "env/bin/xinference-local", folder / "env/bin/python"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    release.seal(str(folder), {"id": name, **CONTENTS})
    return folder


RECEIPTS = [{"release": "one", "previous": None}, {"release": "two", "previous": "one"}]


def test_without_a_name_it_is_the_previous_release(paths: Paths) -> None:
    assert release.choose_former(paths, "", RECEIPTS)["id"] == "one"
    assert release.choose_former(paths, "two", RECEIPTS)["id"] == "two"


def test_the_plan_is_the_one_that_preflight_makes(paths: Paths) -> None:
    plan = release.plan_of(paths, release.choose_former(paths, "", RECEIPTS)).as_dict()
    assert plan["release"] == {"id": "one", "path": paths.release("one"), "complete": True, "drifted": False}
    assert plan["current"] == "two"
    assert plan["model"] == {"name": "Kokoro-82M", "path": paths.release("one") + "/models/Kokoro-82M"}
    assert plan["paths"]["releases"] == paths.releases
    assert (plan["missing"], plan["store"]) == ([], None)
    kept = ("manifest_sha256", "profile", "python", "languages", "voices", "unpublished", "artifacts")
    assert {key: plan[key] for key in kept} == {key: CONTENTS[key] for key in kept}
    assert "id" not in plan


@pytest.mark.parametrize(
    "broken",
    ["env/bin/xinference-local", "env/bin/python", "models/Kokoro-82M/voices/af_heart.pt", "models/Kokoro-82M/w.pth"],
)
def test_a_release_that_lacks_a_file_is_refused(paths: Paths, broken: str) -> None:
    (Path(paths.release("one")) / broken).unlink()
    with pytest.raises(release.ReleaseError) as error:
        release.choose_former(paths, "", RECEIPTS)
    assert "release one is damaged" in str(error.value)
    assert "two (current)" in str(error.value)
    assert Path(broken).name in str(error.value)


def test_a_model_file_of_another_size_is_refused(paths: Paths) -> None:
    (Path(paths.release("one")) / "models/Kokoro-82M/w.pth").write_text("123")
    with pytest.raises(release.ReleaseError, match=r"w\.pth \(3 bytes of 5\)"):
        release.choose_former(paths, "one", RECEIPTS)


def test_an_unfinished_release_and_one_that_is_not_there_are_refused(paths: Paths) -> None:
    Path(paths.release("half")).mkdir()
    with pytest.raises(release.ReleaseError, match="half was never finished.*on this host: one, two"):
        release.choose_former(paths, "half", RECEIPTS)
    with pytest.raises(release.ReleaseError, match=r"gone is not on this host.*on this host: one, two"):
        release.choose_former(paths, "gone", RECEIPTS)
    with pytest.raises(release.ReleaseError, match="is not on this host|never finished"):
        release.choose_former(paths, "../releases/one", RECEIPTS)


def test_a_missing_previous_release_is_reported(paths: Paths) -> None:
    with pytest.raises(release.ReleaseError, match="the ledger names no release before two"):
        release.choose_former(paths, "", [])
    with pytest.raises(release.ReleaseError, match="the ledger names no release. Complete releases on this host: none"):
        release.choose_former(Paths("/nowhere"), "", [])


def test_a_file_of_a_second_model_is_sought_beside_the_first(paths: Paths) -> None:
    row = {**VOICE, "path": "kokoro/Kokoro-82M-v1.1-zh/voices/zf_001.pt", "name": "zf_001"}
    contents = {**CONTENTS, "artifacts": [*CONTENTS["artifacts"], row]}
    (missing,) = release.damage(paths.release("one"), contents)
    assert missing == paths.release("one") + "/models/Kokoro-82M-v1.1-zh/voices/zf_001.pt"


def before(paths: Paths) -> plans.Former:
    found = release.former(paths)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("profile", "accelerator"), [("cuda-py311-x86_64", "cuda"), ("cpu-py311-x86_64", "cpu"), (None, "cpu")]
)
def test_the_former_release_computes_on_what_it_was_made_for(
    paths: Paths, profile: str | None, accelerator: str
) -> None:
    """An old release may name no profile."""
    path = Path(paths.release("two")) / "release.json"
    path.chmod(0o644)
    path.write_text(json.dumps({"id": "two", **CONTENTS, "profile": profile}))
    found = before(paths)
    assert (found.profile, found.accelerator) == (profile, accelerator)
    assert plans.former_of(json.loads(json.dumps(asdict(found)))) == found


def test_every_plan_has_every_key_and_a_former_release_fits_over_it(paths: Paths) -> None:
    """failed.yml puts the former release into the plan that failed."""
    plan = release.plan_of(paths, release.choose_former(paths, "", RECEIPTS)).as_dict()
    assert set(plan) == {each.name for each in fields(plans.Plan)}
    assert plan["accelerator"] == "cpu"
    over = plan["former"]
    assert over["release"]["id"] == "two"
    assert set(over) < set(plan)
    assert {type(over[key]) for key in ("release", "model")} == {dict}


def test_the_former_release_is_brought_back_with_the_models_of_its_languages(paths: Paths) -> None:
    assert before(paths).language_models == {}
    spoken = {"z": "Kokoro-82M-v1.1-zh"}
    make(paths, "three")
    release.switch(paths, "three")
    folder = Path(paths.release("three"))
    (folder / "release.json").chmod(0o644)
    (folder / "release.json").write_text(json.dumps({"id": "three", **CONTENTS, "language_models": spoken}))
    assert before(paths).language_models == spoken
