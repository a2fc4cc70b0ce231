# SPDX-License-Identifier: GPL-3.0-or-later
"""The bill of materials: every artifact, a package URL for each, valid by CycloneDX's schema, the same every time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

# ansible-test's own environment has neither. bin/test runs these tests a second time, with both.
jsonschema = pytest.importorskip("jsonschema")
referencing = pytest.importorskip("referencing")

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, locks, sbom
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact

SCHEMAS = Path(__file__).parent / "cyclonedx"
LOCKS = Path(__file__).parents[5] / "roles/artifact_store/files/locks"
# Type, name, version, qualifiers and subpath: https://github.com/package-url/purl-spec
PURL = re.compile(
    r"pkg:[a-z][a-z0-9.-]*(/[A-Za-z0-9._~%-]+)+(@[A-Za-z0-9._~:%-]+)?"
    r"(\?[a-z_]+=[A-Za-z0-9._~:%-]+(&[a-z_]+=[A-Za-z0-9._~:%-]+)*)?(#[A-Za-z0-9._~%-]+(/[A-Za-z0-9._~%-]+)*)?"
)
KOKORO = catalogue.KOKORO_REVISION
WHEEL = Artifact(
    "wheels/misaki.whl", "a" * 64, 3, "wheel", "Misaki_X", "1.2.3+cpu", "https://host/misaki.whl", "MIT",
    profiles=("p",),
)  # fmt: skip
WEIGHTS = Artifact(
    "kokoro/k.pth", "b" * 64, 4, "kokoro-weights", "weights", "f3ff", "file:k.pth", "Apache-2.0", "made-up"
)


def artifact(path: str, kind: str, name: str, version: str, address: str = "", **more: Any) -> Artifact:
    return Artifact(path, "c" * 64, 1, kind, name, version, address, **more)


def everything() -> list[Artifact]:
    """An artifact of each kind, and every package of every lock."""
    found = [WHEEL, WEIGHTS]
    for path in sorted(LOCKS.glob("pylock.*.toml")):
        found.append(artifact(f"locks/{path.name}", "lock", path.name[7:-5], "1.2.3"))
        for row in locks.read_lock(path).packages:
            found.append(artifact(f"wheels/{row.filename}", "wheel", row.name, row.version, row.location))
    for spacy in catalogue.SPACY_MODELS.values():
        address = f"{catalogue.SPACY_RELEASES}/{spacy.name}-{spacy.version}/{spacy.filename}"
        found.append(artifact(f"spacy/{spacy.filename}", "spacy-model", spacy.name, spacy.version, address))
    for model in catalogue.MANDARIN_MODELS.values():
        for kind, file in (("config", model.config[0]), ("weights", model.weights[0])):
            path = f"kokoro/{model.name}/{file}"
            found.append(artifact(path, f"kokoro-{kind}", f"{model.name}-{kind}", model.revision[:12]))
        for voice in model.voices:
            path = f"kokoro/{model.name}/voices/{voice}.pt"
            found.append(artifact(path, "kokoro-voice", voice, model.revision[:12]))
    for hearing in catalogue.HEARING_MODELS.values():
        for file in hearing.files:
            found.append(artifact(f"hearing/{hearing.name}/{file}", "hearing-model", file, hearing.revision[:12]))
    for build in catalogue.PYTHONS.values():
        address = f"{catalogue.PYTHON_BUILDS}/{build.date}/{build.filename.replace('+', '%2B')}"
        found.append(
            artifact(f"python/{build.filename}", "python", f"cpython-{build.feature}", build.full_version, address)
        )
    dictionary = catalogue.UNIDIC
    found.append(
        artifact(
            f"dictionaries/{dictionary.filename}", "dictionary", dictionary.name, dictionary.version, "https://h/u"
        )
    )
    return list({each.path: each for each in found}.values())


def faults(bill: dict[str, Any]) -> list[str]:
    """What CycloneDX's own schema says against a bill of materials."""
    schemas = {name: json.loads((SCHEMAS / f"{name}.schema.json").read_text()) for name in ("spdx", "jsf-0.82")}
    known = [(schema["$id"], referencing.Resource.from_contents(schema)) for schema in schemas.values()]
    bom = json.loads((SCHEMAS / "bom-1.6.schema.json").read_text())
    validator = jsonschema.Draft7Validator(bom, registry=referencing.Registry().with_resources(known))
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in validator.iter_errors(bill)
    ]


def test_every_artifact_is_a_component_with_its_digest() -> None:
    bom = json.loads(sbom.render([WHEEL, WEIGHTS]))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    weights, wheel = bom["components"]
    assert wheel["purl"] == "pkg:pypi/misaki-x@1.2.3%2Bcpu?file_name=misaki.whl"
    assert wheel["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert wheel["licenses"] == [{"license": {"name": "MIT"}}]
    assert wheel["externalReferences"][0]["url"] == "https://host/misaki.whl"
    assert weights["type"] == "machine-learning-model"
    assert {"name": "voicefleet:source", "value": "made-up"} in weights["properties"]
    assert "externalReferences" not in weights


def test_the_schema_of_cyclonedx_accepts_a_bill_of_every_kind_and_every_lock() -> None:
    bill = json.loads(sbom.render(everything()))
    assert {component["bom-ref"] for component in bill["components"]} == {each.path for each in everything()}
    assert faults(bill) == []


@pytest.mark.parametrize(
    ("key", "value"), [("purl", 1), ("type", "wheel"), ("hashes", [{"alg": "SHA-256", "content": "short"}]), ("x", 1)]
)
def test_the_schema_of_cyclonedx_refuses_a_wrong_component(key: str, value: Any) -> None:
    bill = json.loads(sbom.render([WHEEL]))
    bill["components"][0][key] = value
    assert faults(bill) != []


def test_every_component_has_a_valid_purl_and_only_files_of_one_wheel_name_share_a_package() -> None:
    bill = json.loads(sbom.render(everything()))
    purls = [component["purl"] for component in bill["components"]]
    assert [text for text in purls if not PURL.fullmatch(text)] == []
    assert len(set(purls)) == len(purls)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            artifact("kokoro/Kokoro-82M/voices/af_heart.pt", "kokoro-voice", "af_heart", KOKORO[:12]),
            f"pkg:huggingface/hexgrad/Kokoro-82M@{KOKORO}#voices/af_heart.pt",
        ),
        # A catalogue of another time has another revision: then only its first digits are known.
        (
            artifact("kokoro/Kokoro-82M/config.json", "kokoro-config", "config", "0123456789ab"),
            "pkg:huggingface/hexgrad/Kokoro-82M@0123456789ab#config.json",
        ),
        (
            artifact("hearing/whisper-base/config.json", "hearing-model", "config.json", "e37978b90ca9"),
            "pkg:huggingface/openai/whisper-base@e37978b90ca9030d5170a5c07aadb050351a65bb#config.json",
        ),
        # A stand-in is not what the hub publishes.
        (
            artifact("kokoro/Kokoro-82M/config.json", "kokoro-config", "config", KOKORO[:12], source="made-up"),
            f"pkg:generic/config@{KOKORO[:12]}?checksum=sha256:{'c' * 64}",
        ),
        # PyPI has no spaCy models. A package of that name there is something else.
        (
            artifact("spacy/a-1.tar.gz", "spacy-model", "en_core_web_sm", "3.8.0", "https://h/a-1.tar.gz"),
            f"pkg:generic/en_core_web_sm@3.8.0?checksum=sha256:{'c' * 64}&download_url=https:%2F%2Fh%2Fa-1.tar.gz",
        ),
        (
            artifact("python/p.tar.gz", "python", "cpython-3.11", "3.11.0+20200101"),
            f"pkg:generic/python@3.11.0?checksum=sha256:{'c' * 64}",
        ),
        (
            artifact("locks/pylock.p.toml", "lock", "p", "1.2.3"),
            f"pkg:generic/pylock.p.toml?checksum=sha256:{'c' * 64}",
        ),
    ],
)
def test_a_purl_names_what_the_file_is(row: Artifact, expected: str) -> None:
    assert sbom.purl(row) == expected


def test_python_has_the_name_that_its_advisories_use() -> None:
    (component,) = json.loads(sbom.render([artifact("python/p", "python", "cpython-3.11", "3.11.0+1")]))["components"]
    assert component["cpe"] == "cpe:2.3:a:python:python:3.11.0:*:*:*:*:*:*:*"


def test_the_same_contents_give_the_same_bytes_and_other_contents_another_serial_number() -> None:
    assert sbom.render([WHEEL, WEIGHTS]) == sbom.render([WEIGHTS, WHEEL])
    assert json.loads(sbom.render([WHEEL]))["serialNumber"] != json.loads(sbom.render([WEIGHTS]))["serialNumber"]
