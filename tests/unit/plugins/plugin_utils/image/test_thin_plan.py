# SPDX-License-Identifier: GPL-3.0-or-later
"""A thin layer is planned from what the repair's program reports of an image, with a double of the engine."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import images, repair
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import archive, image, thin
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_repair
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.image.test_image import Double, wanted


class Place(Double):
    """An image with Xinference. ``report`` is what the program says of it."""

    def __init__(self, folder: Path, report: dict[str, Any]) -> None:
        super().__init__(folder)
        self.report = report
        self.asked: dict[str, Any] = {}

    def user(self, image: str) -> str:
        return "1000"

    def ask(self, image: str, mounts: Sequence[tuple[Path, str]], command: Sequence[str], data: bytes) -> bytes:
        self.asked = {"command": list(command), **json.loads(data)}
        return json.dumps(self.report).encode()


def report(store: Path, state: str, **changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(test_repair.REPORT)
    wish = repair.wishes(test_repair.manifest(store), test_repair.wanted())
    found["files"] = {row["to"]: state for row in wish["files"]}
    return {**found, **changes}


def planned(store: Path, place: Place) -> tuple[thin.Planned, images.Contents[dict[str, Any]]]:
    asked = wanted(store / "out", python="/opt/conda/bin/python")
    held, chosen = test_repair.manifest(store), test_repair.wanted()
    about = thin.place_of(place, "base:1")
    found = thin.report(place, "base:1", asked.python, about, repair.wishes(held, chosen))
    layer = images.layer(held, "d" * 64, store, chosen, "base:1", found)
    tag = image.tag_of(asked, layer.plan["id"])
    beside = layer.beside(tag, "base:1")
    planned = thin.Planned(
        "base:1", place.identity("base:1"), layer.created, tag, beside, layer.plan, about, asked.python
    )
    return planned, layer


def test_the_image_is_asked_with_its_own_python_and_user(tmp_path: Path) -> None:
    place = Place(tmp_path, report(tmp_path, "missing"))
    found, layer = planned(tmp_path, place)
    assert place.asked["command"][0] == "/opt/conda/bin/python"
    assert (place.asked["do"], place.asked["user"]) == ("inspect", "1000")
    assert {row.name for row in layer.artifacts} >= {"af_heart", "en_core_web_sm", "uv"}
    assert found.tag == f"speech:{found.plan['id']}"


def test_what_is_lost_with_a_container_stays_in_an_image(tmp_path: Path) -> None:
    place = Place(tmp_path, report(tmp_path, "missing", storage={"site": "layer", "home": "layer"}))
    assert planned(tmp_path, place)[1].findings == []


def test_what_a_repair_cannot_do_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(image.ImageError, match="there is no Xinference"):
        planned(tmp_path, Place(tmp_path, {"error": "there is no Xinference"}))
    with pytest.raises(images.UnfitError, match=r"base:1 cannot be repaired:\n  ERROR XINFERENCE"):
        planned(tmp_path, Place(tmp_path, report(tmp_path, "missing", cache=False)))


def test_the_same_image_and_store_give_the_same_thin_image(tmp_path: Path) -> None:
    held = {**test_repair.REPORT["distributions"], "en-core-web-sm": test_repair.ENGLISH.version}
    place = Place(tmp_path, report(tmp_path, "right", distributions=held))
    made = []
    for name in ("1", "2"):
        layer, _contents = planned(tmp_path, place)
        asked = wanted(tmp_path / name, python="/opt/conda/bin/python")
        made.append(thin.make(layer, asked, thin.inputs(layer), place, lambda _line: None))
    assert made[0] == made[1]
    base = archive.read_base(tmp_path / "1" / made[0]["archive"])
    assert base.config["config"]["Labels"]["voicefleet.manifest.sha256"] == "d" * 64
    (line,) = thin.commands(made[0], "podman", tmp_path)
    assert "podman load --input speech-4.0.1-repaired-" in line


def test_an_image_whose_python_prints_is_understood(tmp_path: Path) -> None:
    class Loud(Place):
        def ask(self, *arguments: Any) -> bytes:
            return b"welcome\n" + super().ask(*arguments)

    planned(tmp_path, Loud(tmp_path, report(tmp_path, "missing")))

    class Odd(Place):
        def ask(self, *_arguments: Any) -> bytes:
            return b"no answer"

    with pytest.raises(image.ImageError, match="of base:1 did not answer: no answer"):
        planned(tmp_path, Odd(tmp_path, {}))


def test_a_volume_of_the_base_is_reported(tmp_path: Path) -> None:
    place = Place(tmp_path, report(tmp_path, "missing", storage={"site": "layer", "home": "volume"}))
    (finding,) = planned(tmp_path, place)[1].findings
    assert finding.startswith("warning VOLUME: the image declares a volume at /home")
