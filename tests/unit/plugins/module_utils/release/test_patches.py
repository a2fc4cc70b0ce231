# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairs change only the known file, and update RECORD and byte code. Molecule tests the real files."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches

OLD = b'STATE = "training"\nOTHER = 1\n'
NEW = b'STATE = "evaluation"\nOTHER = 1\n'
PATCH = patches.Patch(
    name="a-repair",
    package="some-speech",
    file="speech/model.py",
    before=hashlib.sha256(OLD).hexdigest(),
    after=hashlib.sha256(NEW).hexdigest(),
    old='"training"',
    new='"evaluation"',
    reason="it trains where it should speak",
)


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """An environment with one package. Its file is a hard link that others share."""
    site = tmp_path / "site"
    (site / "speech").mkdir(parents=True)
    (site / "speech/model.py").write_bytes(OLD)
    os.link(site / "speech/model.py", tmp_path / "shared.py")
    record = site / "some_speech-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(
        f'"a, quoted.py",sha256=x,1\nspeech/model.py,{digest(OLD)},{len(OLD)}\nsome_speech-1.0.dist-info/RECORD,,\n'
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    return tmp_path


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def repair(env: Path, patch: patches.Patch = PATCH) -> None:
    patches.apply(patch, str(env), str(env / "site"))


def test_a_repair_updates_file_record_and_byte_code(env: Path) -> None:
    repair(env)
    assert (env / "site/speech/model.py").read_bytes() == NEW
    assert (env / "shared.py").read_bytes() == OLD
    with open(env / "site/some_speech-1.0.dist-info/RECORD", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows == [
        ["a, quoted.py", "sha256=x", "1"],
        ["speech/model.py", digest(NEW), str(len(NEW))],
        ["some_speech-1.0.dist-info/RECORD", "", ""],
    ]
    (compiled,) = (env / "site/speech/__pycache__").iterdir()
    assert b"evaluation" in compiled.read_bytes()


def test_an_unknown_file_is_left_alone_and_named(env: Path) -> None:
    changed = OLD + b"# upstream's next release\n"
    (env / "site/speech/model.py").write_bytes(changed)
    with pytest.raises(patches.PatchError) as failure:
        repair(env)
    assert hashlib.sha256(changed).hexdigest() in str(failure.value)
    assert "speech/model.py" in str(failure.value)
    assert "preflight_patches" in str(failure.value)
    assert (env / "site/speech/model.py").read_bytes() == changed
    assert digest(OLD) in (env / "site/some_speech-1.0.dist-info/RECORD").read_text()


def test_a_missing_file_and_an_unlisted_one_are_refused(env: Path) -> None:
    record = env / "site/some_speech-1.0.dist-info/RECORD"
    record.write_text("another.py,,\n")
    with pytest.raises(patches.PatchError, match="stands 0 times"):
        repair(env)
    (env / "site/speech/model.py").unlink()
    with pytest.raises(patches.PatchError, match="is missing"):
        repair(env)


def test_a_repair_with_an_unexpected_result_is_refused(env: Path) -> None:
    with pytest.raises(patches.PatchError, match="does not become"):
        repair(env, PATCH._replace(new='"elsewhere"'))
    assert (env / "site/speech/model.py").read_bytes() == OLD


def test_repairs_are_chosen_by_name() -> None:
    assert patches.choose([]) == []
    assert [patch.name for patch in patches.choose(["kokoro-eval"])] == ["kokoro-eval"]
    with pytest.raises(patches.PatchError, match="there is no repair nonsense. Known repairs: kokoro-eval"):
        patches.choose(["nonsense"])


def test_each_repair_changes_one_place_and_says_why() -> None:
    for patch in patches.CATALOGUE.values():
        assert patch.before != patch.after
        assert patch.old != patch.new
        assert patch.reason
        assert patch.adds in ("", *patches.ADDITIONS)


def test_repairs_that_a_language_needs_are_not_optional() -> None:
    assert [patch.name for patch in patches.needed_for(["japanese", "mandarin"])] == [
        "misaki-openjtalk",
        "misaki-mojimoji",
    ]
    assert patches.needed_for(["mandarin"]) == []
    assert patches.needed_for([]) == []
    assert patches.OPTIONAL == [
        "kokoro-eval",
        "kokoro-words",
        "serving-model",
        "serving-api",
        "audio-only",
        "start-local",
        "start-host",
        "start-types",
        "start-ocr",
    ]


def test_a_repair_may_bring_modules_that_are_listed_compiled_and_part_of_the_release(env: Path) -> None:
    patch = PATCH._replace(adds="serving")
    repair(env, patch)
    repair(env, patch._replace(name="another"))
    names = ["encoding", "model", "request", "routes", "sentences", "turns"]
    added = {f"voicefleet_serving/{name}.py": env / f"site/voicefleet_serving/{name}.py" for name in names}
    record = (env / "site/some_speech-1.0.dist-info/RECORD").read_text().splitlines()
    for path, file in added.items():
        assert record.count(f"{path},{digest(file.read_bytes())},{file.stat().st_size}") == 1
    assert "class Turns" in added["voicefleet_serving/turns.py"].read_text(encoding="utf-8")
    assert len([*(env / "site/voicefleet_serving/__pycache__").iterdir()]) == len(names)
    made = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in added.items()}
    assert patch.digests() == {"speech/model.py": PATCH.after, **made}
    assert patch.as_dict()["added"] == made
    assert PATCH.digests() == {"speech/model.py": PATCH.after}
    assert "added" not in PATCH.as_dict()


def test_a_voice_is_spoken_by_the_pipeline_of_its_language() -> None:
    """The repair kokoro-languages, run with a pipeline that only says what it was asked."""

    class Pipeline:
        def __init__(self, lang_code: str, repo_id: str = "hexgrad/Kokoro-82M", model: object = None) -> None:
            self.lang_code, self.repo_id, self.model = lang_code, repo_id, model

        def __call__(self, text: str, voice: str | None = None, speed: float = 1) -> list[tuple[object, ...]]:
            return [(self.lang_code, self.model, text, voice, speed)]

    source = patches.CATALOGUE["kokoro-languages"].new.replace("from . import pipeline\n", "")
    names: dict[str, Any] = {"pipeline": SimpleNamespace(KPipeline=Pipeline, LANG_CODES={"a": "", "b": "", "z": ""})}
    exec(source, names)
    weights = object()
    speaker = names["KPipeline"]("a", model=weights)
    assert speaker("Hi", "/r/voices/af_heart.pt") == [("a", weights, "Hi", "/r/voices/af_heart.pt", 1)]
    assert speaker("Hi", "/r/voices/bf_emma.pt", speed=2) == [("b", weights, "Hi", "/r/voices/bf_emma.pt", 2)]
    assert speaker("你", "zm_yunxi")[0][0] == "z"
    assert speaker("Hi", "/r/voices/bruno.pt")[0][0] == "a"  # a voice of the operator's own
    assert speaker("Hi")[0][0] == "a"
    assert sorted(speaker.others) == ["b", "z"]
    newer = names["KPipeline"]("z", repo_id="hexgrad/Kokoro-82M-v1.1-zh")
    assert newer("Hi", "af_maple")[0][0] == "z"


def test_all_english_front_ends_share_the_transformer_model() -> None:
    """The repair misaki-trf, run on the lines that it changes."""
    patch = patches.CATALOGUE["misaki-trf"]
    lines = (patch.old, "        components = ['transformer' if trf else 'tok2vec', 'tagger']\n", patch.more[0][0])
    source = "class G2P:\n    def __init__(self, trf=False):\n" + "".join(lines)
    loaded: list[tuple[str, list[str]]] = []

    spans, other = SimpleNamespace(attrs={"batch_size": 384}), SimpleNamespace(attrs={})

    def load(name: str, enable: list[str]) -> object:
        loaded.append((name, enable))
        model = SimpleNamespace(walk=lambda: [other, spans])
        return SimpleNamespace(pipeline=[("transformer", SimpleNamespace(model=model))])

    names: dict[str, Any] = {"spacy": SimpleNamespace(load=load)}
    exec(source, names)
    assert names["G2P"]().nlp is not names["G2P"]().nlp
    assert loaded.pop() == loaded.pop() == ("en_core_web_sm", ["tok2vec", "tagger"])
    exec(patches.repair(patch, source.encode()), names)
    assert names["G2P"]().nlp is names["G2P"](trf=False).nlp
    assert loaded == [("en_core_web_trf", ["transformer", "tagger"])]
    assert (spans.attrs, other.attrs) == ({"batch_size": 2}, {})


def test_the_replacement_of_mojimoji_behaves_like_it() -> None:
    """After NFKC, the two calls change three quotation marks. Tested with mojimoji 0.0.13 on every character."""
    names: dict[str, type] = {}
    exec(patches.CATALOGUE["misaki-mojimoji"].new, names)
    mojimoji = names["mojimoji"]
    assert mojimoji.zen_to_han("\u2018日\u2019\u201dア1a", kana=False) == "`日'\"ア1a"  # type: ignore[attr-defined]
    assert mojimoji.han_to_zen("日ア1a\u201c", digit=False, ascii=False) == "日ア1a\u201c"  # type: ignore[attr-defined]
