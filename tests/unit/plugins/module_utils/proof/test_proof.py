# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import proof
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.acoustics import Finding
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.performance import Load
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.proof import Evidence, Wanted
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import Reply, SpeechError
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import (
    FIXTURES,
    pcm,
    silence,
    speech_like,
    wav,
    white,
)

SPEECH = {voice: wav(pcm(speech_like(seed=seed))) for seed, voice in enumerate(("af_heart", "am_michael"), 1)}
NOISE = wav(pcm(white(2.6)))


class Endpoint:
    """In place of SpeechClient: answers by voice and format, or raises; keeps what was asked."""

    endpoint = "http://127.0.0.1:9997"
    timeout = 5.0

    def __init__(self, answers: dict[tuple[str, str], Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, str]] = []

    def speak(self, model: str, text: str, voice: str, audio_format: str, speed: float = 1.0) -> Reply:
        self.asked.append((text, voice, audio_format))
        answer = self.answers[voice, audio_format]
        if isinstance(answer, Exception):
            raise answer
        return Reply(answer, "audio/wav", 0.5, 0.65)


def wanted(**changes: Any) -> Wanted:
    return Wanted(
        **{
            "release_id": "1.2.3-abc",
            "model": "kokoro",
            "voices": ["af_heart", "am_michael"],
            "formats": ["wav"],
            "text": "One two three four five.",
            **changes,
        }
    )


def both(first: Any, second: Any) -> Endpoint:
    return Endpoint({("af_heart", "wav"): first, ("am_michael", "wav"): second})


def bad(sample: proof.Sample) -> dict[str, bool | None]:
    return {f.name: f.ok for f in sample.findings if f.ok is not True}


def test_speech_reaches_the_level_acoustic() -> None:
    endpoint = both(SPEECH["af_heart"], SPEECH["am_michael"])
    samples, answers = proof.prove(endpoint, wanted())
    assert [(s.voice, s.format, s.level) for s in samples] == [
        ("af_heart", "wav", "acoustic"),
        ("am_michael", "wav", "acoustic"),
    ]
    assert answers == {f"{voice}.wav": data for voice, data in SPEECH.items()}
    assert samples[0].latency_seconds == 0.65
    assert samples[0].real_time_factor == pytest.approx(0.65 / samples[0].audio_seconds, abs=0.01)
    assert samples[0].measurements["voiced_share"] > 0.15


def test_noise_reaches_only_the_level_format() -> None:
    samples, _answers = proof.prove(both(SPEECH["af_heart"], NOISE), wanted())
    report = proof.as_report(wanted(), samples, {"kokoro/x.pth": "made-up"}, {"profile": "cpu"})
    assert [s.level for s in samples] == ["acoustic", "format"]
    assert bad(samples[1]) == {"noise": False}
    assert (report["level"], report["profile"]) == ("format", "cpu")
    lines = proof.in_words(report)
    assert any("FAIL noise: The audio is white noise" in line for line in lines)
    assert "not Kokoro's voice (kokoro/x.pth)" in lines[-1]
    assert json.loads(json.dumps(report)) == report


def test_the_same_bytes_for_two_voices_are_refused() -> None:
    samples, _answers = proof.prove(both(SPEECH["af_heart"], SPEECH["af_heart"]), wanted())
    assert [s.level for s in samples] == ["acoustic", "none"]
    assert bad(samples[1]) == {"distinct": False}


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (b"", "container"),
        (b"<html>", "container"),
        ((FIXTURES / "yes.mp3").read_bytes(), "container"),
        (wav(pcm(speech_like()), rate=22050), "sample_rate"),
        (wav(pcm(speech_like()), channels=2), "channels"),
        (SPEECH["am_michael"][:-5000], "complete"),
    ],
)
def test_a_wrong_file_proves_nothing(answer: bytes, finding: str) -> None:
    samples, _answers = proof.prove(both(SPEECH["af_heart"], answer), wanted())
    assert samples[1].level == "none"
    assert finding in bad(samples[1])
    assert {f.level for f in samples[1].findings} == {"format"}


def test_a_failed_voice_does_not_stop_the_next_one() -> None:
    endpoint = both(SpeechError("failed", "500: no such voice", 500), SPEECH["am_michael"])
    samples, _answers = proof.prove(endpoint, wanted())
    assert [s.level for s in samples] == ["none", "acoustic"]
    assert samples[0].findings[0].value == 500


@pytest.mark.parametrize("kind", ["unauthorized", "refused", "unreachable", "limited", "no_model", "loading"])
def test_no_more_requests_are_made_if_all_would_fail(kind: str) -> None:
    endpoint = both(SpeechError(kind, "no way"), SPEECH["am_michael"])
    samples, answers = proof.prove(endpoint, wanted())
    assert len(endpoint.asked) == 1
    assert not answers
    assert [s.findings[0].ok for s in samples] == [False, None]
    assert "Not tried, because: no way" in samples[1].findings[0].sentence


def test_a_slow_voice_does_not_stop_the_next_one() -> None:
    """The model may have spoken a long text for somebody else."""
    endpoint = both(SpeechError("timeout", "did not answer within 120 s"), SPEECH["am_michael"])
    samples, _answers = proof.prove(endpoint, wanted())
    assert [s.level for s in samples] == ["none", "acoustic"]


def test_a_model_that_does_not_answer_twice_in_a_row_is_not_asked_again() -> None:
    late = SpeechError("timeout", "did not answer within 120 s")
    voices = ["af_heart", "am_michael", "af_sky", "am_onyx", "am_adam"]
    answers = [late, SPEECH["am_michael"], late, late, SPEECH["af_heart"]]
    endpoint = Endpoint({(voice, "wav"): answer for voice, answer in zip(voices, answers, strict=True)})
    samples, _answers = proof.prove(endpoint, wanted(voices=voices))
    assert [voice for _text, voice, _form in endpoint.asked] == voices[:4]
    assert [s.findings[0].ok for s in samples] == [False, True, False, False, None]


@pytest.mark.parametrize("kind", ["no_model", "loading", "forbidden", "timeout"])
def test_a_model_that_fails_does_not_stop_the_voices_of_another(kind: str) -> None:
    failure = SpeechError(kind, "no way")
    want = wanted(voices=["zf_001", "zm_010", "zf_002", "am_michael"], uids={"z": "kokoro-z"})
    answers = [failure, failure, failure, SPEECH["am_michael"]]
    endpoint = Endpoint({(voice, "wav"): answer for voice, answer in zip(want.voices, answers, strict=True)})
    samples, _answers = proof.prove(endpoint, want)
    assert [s.level for s in samples] == ["none", "none", "none", "acoustic"]
    assert ("zf_002", "wav") not in [request[1:] for request in endpoint.asked]


def test_an_undecoded_sample_is_unverified() -> None:
    endpoint = Endpoint({("af_heart", "mp3"): (FIXTURES / "yes.mp3").read_bytes()})
    (sample,), _answers = proof.prove(endpoint, wanted(voices=["af_heart"], formats=["mp3"]))
    assert sample.level == "format"
    assert bad(sample) == {"acoustic": None}
    assert "UNVERIFIED: no Python with soundfile" in sample.findings[-1].sentence


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter whose soundfile takes everything for a WAV; run as the test's own user."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "soundfile.py").write_text(
        "class Samples(bytes):\n"
        "    def __getitem__(self, key): return self\n"
        "    def astype(self, kind): return self\n"
        "    def tobytes(self): return bytes(self)\n"
        "def read(file, frames, dtype, always_2d):\n"
        "    assert frames == 300 * 48000\n"
        "    data = file.read()\n"
        "    if not data.startswith(b'RIFF'): raise ValueError('Format not recognised.')\n"
        "    return Samples(data[44:]), 24000\n"
    )
    path = tmp_path / "python"
    # -I keeps the environment out, so the path is set inside.
    path.write_text(
        "#!/bin/sh\n"
        f"exec '{sys.executable}' -I -c 'import sys; sys.path.insert(0, \"{lib}\"); exec(sys.argv[1])' \"$3\"\n"
    )
    path.chmod(0o755)
    return path


def test_the_releases_python_decodes_other_formats(interpreter: Path) -> None:
    decoded = proof.decode([SPEECH["af_heart"], b"what"], str(interpreter), 30)
    assert decoded[1] == "Format not recognised."
    samples, rate = decoded[0]
    assert rate == 24000
    assert proof.judge_samples((samples, rate), wanted().text)[0][0].ok
    assert proof.decode([], None, 1) == []


def test_an_interpreter_that_fails_gives_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "No such file" in str(proof.decode([b"x"], str(tmp_path / "none"), 5)[0])
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho first >&2; echo ModuleNotFoundError: soundfile >&2; exit 1\n")
    broken.chmod(0o755)
    assert str(proof.decode([b"x"], str(broken), 5)[0]).endswith("could not decode it: ModuleNotFoundError: soundfile")


def test_a_level_needs_all_levels_below_it() -> None:
    def finding(level: str, ok: bool | None) -> Finding:
        return Finding("x", level, ok, None, "", "")

    assert proof.level_of([]) == "none"
    assert proof.level_of([finding("format", True)]) == "format"
    assert proof.level_of([finding("format", None), finding("acoustic", True)]) == "none"
    assert proof.level_of([finding("format", True), finding("acoustic", None)]) == "format"
    assert proof.level_of([finding("format", True), finding("acoustic", True)]) == "acoustic"
    assert proof.lowest(["acoustic", "none", "format"]) == "none"
    assert proof.lowest([]) == "none"


@pytest.mark.parametrize(
    "change", [{"voices": ["../etc"]}, {"voices": []}, {"formats": []}, {"text": " "}, {"release_id": ".."}]
)
def test_an_impossible_proof_is_refused(change: dict[str, Any]) -> None:
    assert len(wanted(**change).faults()) == 1
    assert wanted().faults() == []


def test_a_voice_is_requested_from_the_model_that_speaks_its_language() -> None:
    want = wanted(voices=["af_heart", "bf_emma", "zf_001"], uids={"z": "kokoro-z"})
    assert [want.model_of(voice) for voice in want.voices] == ["kokoro", "kokoro", "kokoro-z"]
    assert wanted().model_of("zf_001") == "kokoro"
    models: list[str] = []

    class Listening(Endpoint):
        def speak(self, model: str, text: str, voice: str, audio_format: str, speed: float = 1.0) -> Reply:
            models.append(model)
            return super().speak(model, text, voice, audio_format, speed)

    voices = {"af_heart": SPEECH["af_heart"], "bf_emma": SPEECH["am_michael"], "zf_001": NOISE}
    endpoint = Listening({(voice, "wav"): data for voice, data in voices.items()})
    proof.prove(endpoint, want)
    assert models == ["kokoro", "kokoro", "kokoro-z"]
    models.clear()
    # A short sign of life from each of them, not from each voice.
    proof.still_alive(endpoint, want)
    assert models == ["kokoro", "kokoro-z"]


def test_a_short_request_shows_whether_the_model_is_alive() -> None:
    endpoint = both(NOISE, NOISE)
    assert proof.still_alive(endpoint, wanted()) == 0.65
    assert endpoint.asked == [("Ready.", "af_heart", "wav")]
    for dead in (wav(pcm(silence(1))), b"<html>", NOISE[:-100]):
        with pytest.raises(SpeechError):
            proof.still_alive(both(dead, dead), wanted())


def keep(folder: Path, want: Wanted, endpoint: Endpoint) -> tuple[Evidence, dict[str, Any]]:
    samples, answers = proof.prove(endpoint, want)
    report = proof.as_report(want, samples, [], {})
    evidence = Evidence(str(folder), want.release_id)
    evidence.write(report, answers)
    return evidence, report


def test_only_root_can_read_the_evidence(tmp_path: Path) -> None:
    evidence, report = keep(tmp_path / "evidence", wanted(), both(SPEECH["af_heart"], SPEECH["am_michael"]))
    folder = tmp_path / "evidence" / "1.2.3-abc"
    assert sorted(os.listdir(folder)) == ["af_heart.wav", "am_michael.wav", "proof.json"]
    assert {stat.S_IMODE(os.stat(folder / name).st_mode) for name in os.listdir(folder)} == {0o600}
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert (folder / "af_heart.wav").read_bytes() == SPEECH["af_heart"]
    assert evidence.holds(wanted()) == report
    assert report["samples"][0]["file"] == str(folder / "af_heart.wav")


@pytest.mark.parametrize(
    "change",
    [
        {"voices": ["af_heart"]},
        {"formats": ["wav", "mp3"]},
        {"text": "Other."},
        {"model": "other"},
        {"required_level": "format"},
    ],
)
def test_evidence_of_another_proof_does_not_count(tmp_path: Path, change: dict[str, Any]) -> None:
    evidence, _report = keep(tmp_path, wanted(), both(SPEECH["af_heart"], SPEECH["am_michael"]))
    assert evidence.holds(wanted(**change)) is None
    assert evidence.holds(wanted(voices=["am_michael", "af_heart"])) is not None


def test_changed_or_insufficient_evidence_does_not_count(tmp_path: Path) -> None:
    evidence, _report = keep(tmp_path, wanted(), both(SPEECH["af_heart"], NOISE))
    assert evidence.holds(wanted()) is None
    evidence, _report = keep(tmp_path, wanted(required_level="format"), both(SPEECH["af_heart"], NOISE))
    assert evidence.holds(wanted(required_level="format")) is not None
    sound = tmp_path / "1.2.3-abc" / "af_heart.wav"
    sound.write_bytes(SPEECH["am_michael"])
    assert evidence.holds(wanted(required_level="format")) is None
    sound.unlink()
    assert evidence.holds(wanted(required_level="format")) is None
    Path(evidence.proof).write_text("{")
    assert evidence.read() is None


def test_a_new_proof_removes_the_old_sounds(tmp_path: Path) -> None:
    keep(tmp_path, wanted(), both(SPEECH["af_heart"], SPEECH["am_michael"]))
    keep(tmp_path, wanted(), both(SPEECH["af_heart"], SpeechError("failed", "500")))
    assert sorted(os.listdir(tmp_path / "1.2.3-abc")) == ["af_heart.wav", "proof.json"]


def test_the_release_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    with pytest.raises(ValueError, match="no release was deployed"):
        proof.read_release(str(path))
    for content, why in (("{", "cannot be read"), ("[]", "names no release")):
        path.write_text(content)
        with pytest.raises(ValueError, match=why):
            proof.read_release(str(path))
    path.write_text('{"id": "1.2.3-abc"}')
    assert proof.read_release(str(path)) == {"id": "1.2.3-abc"}
    link = tmp_path / "current"
    (tmp_path / "r1").mkdir()
    link.symlink_to("r1")
    assert proof.interpreter_beside(str(link / "release.json")) == str(tmp_path / "r1" / "env" / "bin" / "python")


# --- formats that a server need not have, and what kept evidence is good for


def test_a_missing_optional_format_does_not_count() -> None:
    refused = SpeechError("no_format", "answered 400: no opus", 400)
    endpoint = Endpoint(
        {(voice, form): SPEECH[voice] if form == "wav" else refused for voice in SPEECH for form in ("wav", "opus")}
    )
    samples, answers = proof.prove(endpoint, wanted(extra_formats=["opus"]))
    assert [(s.format, s.offered, s.level) for s in samples] == [
        *[("wav", True, "acoustic")] * 2,
        *[("opus", False, "none")] * 2,
    ]
    assert [voice for _text, voice, form in endpoint.asked if form == "opus"] == ["af_heart"]  # once is enough
    assert proof.reached(samples) == "acoustic"
    assert set(answers) == {"af_heart.wav", "am_michael.wav"}
    assert "UNVERIFIED offered: The server does not have the format opus." in "\n".join(
        proof.in_words(proof.as_report(wanted(), samples, [], {}))
    )


def test_a_missing_required_format_is_a_failure() -> None:
    endpoint = Endpoint({("af_heart", "opus"): SpeechError("no_format", "answered 400: no opus", 400)})
    (sample,), _answers = proof.prove(endpoint, wanted(voices=["af_heart"], formats=["opus"], extra_formats=["opus"]))
    assert (sample.offered, sample.level, sample.findings[0].ok) == (True, "none", False)


def test_only_opus_counts_at_48_khz() -> None:
    opus = (FIXTURES / "yes.opus").read_bytes()
    assert {f.name for f in proof.check_format(opus, "opus", None)[1] if not f.ok} == set()
    assert {f.name for f in proof.check_format(opus, "ogg", None)[1] if not f.ok} == {"container", "sample_rate"}


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"tried_level": "performance"}, True),
        ({"tried_level": "offline"}, False),
        ({"extra_formats": ["opus"]}, True),
        ({"extra_formats": ["flac"]}, False),
        ({"load": Load(limits={"latency": 1.0})}, False),
    ],
)
def test_a_kept_proof_counts_only_for_the_levels_that_it_tried(
    tmp_path: Path, change: dict[str, Any], holds: bool
) -> None:
    asked = wanted(tried_level="performance", extra_formats=["opus"])
    answers = {
        **{(voice, "wav"): data for voice, data in SPEECH.items()},
        **{(voice, "opus"): SpeechError("no_format", "no") for voice in SPEECH},
    }
    samples, blobs = proof.prove(Endpoint(answers), asked)
    evidence = Evidence(str(tmp_path), "1.2.3-abc")
    evidence.write(proof.as_report(asked, samples, [], {}), blobs)
    assert (evidence.holds(wanted(**change)) is not None) is holds


def test_a_proof_in_words_names_speed_phonemes_and_untried_levels() -> None:
    numbers = {name: {"p50": 0.5, "p95": 1.25} for name in ("first_byte", "latency", "real_time_factor")}
    facts = {
        "findings": [
            {"name": "names", "level": "offline", "ok": True, "sentence": "None."},
            {"name": "gpu", "level": "performance", "ok": None, "sentence": "nvidia-smi can't be asked."},
        ],
        "phonemes": [{"language": "a", "name": "American English", "ok": True, "lines": []}],
        "performance": {"parallel": {"4": {**numbers, "requests": 12, "errors": 0}}},
        "offline": {"unit": "x.service"},
    }
    assert proof.in_words(proof.as_report(wanted(), [], [], facts)) == [
        "American English becomes the right phonemes",
        "12 requests, 4 at once (p50 / p95): first byte 0.50 / 1.25 s, whole answer 0.50 / 1.25 s, real-time factor"
        " 0.50 / 1.25",
        "  UNVERIFIED gpu: nvidia-smi can't be asked.",
        "x.service contacted nothing outside from its start to its first words",
    ]
    facts["findings"][0]["ok"] = False
    assert not any("contacted nothing" in line for line in proof.in_words(proof.as_report(wanted(), [], [], facts)))
    quick = proof.in_words(proof.as_report(wanted(), [], [], {}))
    assert quick == ["not tried: phonemes, intelligible, performance, offline"]


@pytest.mark.parametrize(
    "change",
    [
        {"level": "superb"},
        {"level": None},
        {"tried_level": []},
        {"extra_formats": 5},
        {"samples": None},
        {"samples": []},
        {"samples": ["x"]},
        {"samples": [{}]},
        {"findings": [1]},
        {"performance": {"parallel": 5}},
        {"unpublished": 7},
        {"time": None},
        {"phonemes": 3},
        {"schema": 2},
    ],
)
def test_a_damaged_proof_does_not_hold(tmp_path: Path, change: dict[str, Any], kept: tuple[Wanted, str]) -> None:
    want, text = kept
    evidence = Evidence(str(tmp_path), want.release_id)
    os.makedirs(evidence.folder)
    for damaged in (json.dumps({**json.loads(text), **change}), text[: len(text) // 2], "[" * 100_000, "5"):
        Path(evidence.proof).write_text(damaged)
        assert evidence.holds(want) is None


@pytest.mark.parametrize("file", ["/dev/zero", "../proof.json", "fifo", None, 5])
def test_a_kept_proof_leads_to_no_file_but_its_own(tmp_path: Path, file: Any, kept: tuple[Wanted, str]) -> None:
    want, text = kept
    evidence = Evidence(str(tmp_path), want.release_id)
    os.makedirs(evidence.folder)
    report = json.loads(text)
    report["samples"][0]["file"] = file
    os.mkfifo(os.path.join(evidence.folder, "fifo"))
    Path(evidence.proof).write_text(json.dumps(report))
    assert evidence.holds(want) is None


@pytest.fixture
def kept() -> tuple[Wanted, str]:
    """A proof of one sample, as it is kept."""
    want = wanted(voices=["af_heart"], required_level="format")
    sample = proof.Sample("af_heart", "wav", "format", sha256="0" * 64, file="/x/af_heart.wav")
    return want, json.dumps(proof.as_report(want, [sample], {}, {}))


def test_an_empty_wav_proves_nothing() -> None:
    samples, _answers = proof.prove(both(wav(pcm([])), wav(pcm([]))), wanted())
    assert [sample.level for sample in samples] == ["none", "none"]
    assert bad(samples[0]) == {"container": False}
