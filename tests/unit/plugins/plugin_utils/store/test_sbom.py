# SPDX-License-Identifier: GPL-3.0-or-later
"""The bill of materials: every artifact, in the same bytes every time."""

from __future__ import annotations

import json

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import sbom
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact

WHEEL = Artifact(
    "wheels/misaki.whl", "a" * 64, 3, "wheel", "Misaki_X", "1.2.3+cpu", "https://host/misaki.whl", "MIT",
    profiles=("p",),
)  # fmt: skip
WEIGHTS = Artifact(
    "kokoro/k.pth", "b" * 64, 4, "kokoro-weights", "weights", "f3ff", "file:k.pth", "Apache-2.0", "made-up"
)


def test_every_artifact_is_a_component_with_its_digest() -> None:
    bom = json.loads(sbom.render([WHEEL, WEIGHTS]))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    weights, wheel = bom["components"]
    assert wheel["purl"] == "pkg:pypi/misaki-x@1.2.3%2Bcpu"
    assert wheel["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert wheel["licenses"] == [{"license": {"name": "MIT"}}]
    assert wheel["externalReferences"][0]["url"] == "https://host/misaki.whl"
    assert weights["type"] == "machine-learning-model"
    assert {"name": "voicefleet:source", "value": "made-up"} in weights["properties"]
    assert "externalReferences" not in weights


def test_the_same_contents_give_the_same_bytes_and_other_contents_another_serial_number() -> None:
    assert sbom.render([WHEEL, WEIGHTS]) == sbom.render([WEIGHTS, WHEEL])
    assert json.loads(sbom.render([WHEEL]))["serialNumber"] != json.loads(sbom.render([WEIGHTS]))["serialNumber"]
