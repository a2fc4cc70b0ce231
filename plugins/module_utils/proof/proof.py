# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of speech: request every voice in every format, check each answer, and name the level that it reached.

A sample is one voice in one format. Its findings decide its level. The level of a proof is the lowest of its samples.
The evidence (sound files and `proof.json`) is kept in `<folder>/<release>/`, readable for root only.
"""

from __future__ import annotations

import base64
import os
import time
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..host import ownership, sources
from ..host.hashing import (
    canonical_json,
    parse_json,
    read_bounded,
    read_object,
    sha256_bytes,
    sha256_file,
    write_atomic,
)
from . import acoustics, audio, interpreter, recogniser, speech, textfile
from .acoustics import Finding
from .audio import AudioError, Stream
from .interpreter import InterpreterError
from .performance import Load
from .phonemes import Spoken
from .speech import SpeechClient, SpeechError
from .terms import LEVELS, MEASURES, SAFE_NAME

TEXT = "The quick brown fox jumps over the lazy dog."
LIVE_TEXT = "Ready."
SAMPLE_RATE = 24000  # Hz, Kokoro's output
# The names that `audio.inspect` gives to a format's container and codec.
FORMATS = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "mp3"),
    "flac": ("flac", "flac"),
    "ogg": ("ogg", "vorbis"),
    "opus": ("ogg", "opus"),
}
OPUS_RATE = 48000  # Hz: Opus always counts at this rate
ALWAYS = "acoustic"  # every proof tries the levels up to here: they need only the answers themselves
PROOF_FILE = "proof.json"

MOST_FRAMES = audio.MOST_SECONDS * OPUS_RATE
# What reading a damaged proof raises.
_DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError)
# Reads [base64, ...] and writes [{"rate": Hz, "pcm": base64} or {"error": str}, ...].
_DECODER = """
import base64, io, json, sys
import soundfile
answers = []
for item in json.load(sys.stdin):
    try:
        file = io.BytesIO(base64.b64decode(item))
        samples, rate = soundfile.read(file, frames=MOST_FRAMES, dtype="int16", always_2d=True)
        pcm = samples[:, 0].astype("<i2").tobytes()
        answers.append({"rate": rate, "pcm": base64.b64encode(pcm).decode()})
    except Exception as error:
        answers.append({"error": str(error)})
json.dump(answers, sys.stdout)
"""


@dataclass(frozen=True)
class Wanted:
    """What to prove. `release_id` names the folder of the evidence."""

    release_id: str
    model: str
    voices: list[str]
    formats: list[str]
    text: str = TEXT
    required_level: str = "acoustic"
    uids: dict[str, str] = field(default_factory=dict)  # models that speak one language alone, by its letter
    extra_formats: list[str] = field(default_factory=list)  # tried if the server has them; otherwise not counted
    tried_level: str = ""  # the highest level to try, if above the required one
    load: Load = Load()  # for the level "performance"
    transcriber: str = ""  # the uid of a Whisper model at the same endpoint, for the level "intelligible"
    word_error_rate: float = recogniser.WORD_ERROR_RATE  # the share of a transcription that may be wrong, 0..1

    @property
    def top(self) -> str:
        """Return the highest level to try."""
        return max(self.required_level, self.tried_level or ALWAYS, ALWAYS, key=LEVELS.index)

    def tries(self, level: str) -> bool:
        """Whether a level is tried at all."""
        return LEVELS.index(level) <= LEVELS.index(self.top)

    def model_of(self, voice: str) -> str:
        """Return the model that speaks with a voice."""
        return self.uids.get(voice[:1], self.model)

    def text_of(self, voice: str) -> str:
        """Return the text for a voice. The default text is a sentence of the voice's language."""
        return recogniser.SENTENCES.get(recogniser.letter_of(voice), TEXT) if self.text == TEXT else self.text

    def faults(self) -> list[str]:
        """Return what is wrong with it, in sentences."""
        found = [
            f"{name!r} is not a valid name of a {what}. Use letters, digits and _ . , + -."
            for what, names in (("voice", self.voices), ("release", [self.release_id]))
            for name in names
            if not SAFE_NAME.fullmatch(name)
        ]
        if not self.voices:
            found.append("No voice is named, so nothing would be proved.")
        if not self.formats:
            found.append("No format is named, so nothing would be proved.")
        if not self.text.strip():
            found.append("The text is empty, so nothing would be spoken.")
        if not 0 <= self.word_error_rate < 1:
            found.append(f"The word error rate is {self.word_error_rate}; it must lie between 0 and 1.")
        return found + self.load.faults()

    def key(self) -> dict[str, Any]:
        """Return what kept evidence must match."""
        return {
            "release_id": self.release_id,
            "model": self.model,
            "voices": sorted(self.voices),
            "formats": sorted(self.formats),
            "text": self.text,
            "required_level": self.required_level,
            "transcriber": self.transcriber,
            "word_error_rate": self.word_error_rate,
            "limits": dict(self.load.limits),
        }


@dataclass
class Sample:
    """One voice in one format: the answer, its findings and its level. Times in seconds."""

    voice: str
    format: str
    level: str = LEVELS[0]
    findings: list[Finding] = field(default_factory=list)
    latency_seconds: float | None = None
    audio_seconds: float | None = None
    real_time_factor: float | None = None  # latency / length of the audio; below 1 is faster than real time
    bytes: int = 0
    sha256: str | None = None
    file: str | None = None
    offered: bool = True  # False for an extra format that the server does not have
    measurements: dict[str, float] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return f"{self.voice}.{self.format}"


def level_of(findings: Iterable[Finding]) -> str:
    """Return the highest level whose findings, and all findings below it, are good. UNVERIFIED is not good."""
    known, reached = list(findings), LEVELS[0]
    for level in LEVELS[1:]:
        mine = [finding for finding in known if finding.level == level]
        if not mine or any(finding.ok is not True for finding in mine):
            break
        reached = level
    return reached


def lowest(levels: Iterable[str]) -> str:
    """Return the lowest of some levels, or `none` if there are none."""
    return min(levels, key=LEVELS.index, default=LEVELS[0])


def settle(samples: Iterable[Sample], languages: Iterable[Spoken] = (), host: Iterable[Finding] = ()) -> None:
    """Give each sample its level, from its own findings, those of its language and those of the host."""
    spoken, shared = {each.language: each.findings for each in languages}, list(host)
    for sample in samples:
        sample.level = level_of([*sample.findings, *spoken.get(sample.voice[:1], []), *shared])


def untried(wanted: Wanted) -> list[Finding]:
    """Return a finding of the host for each level that is not tried, because untried never counts as passed."""
    return [
        Finding("untried", level, None, None, "tried", f"The level {level} was not tried (synthesis_try_level).")
        for level in LEVELS[1:]
        if not wanted.tries(level)
    ]


def reached(samples: Iterable[Sample]) -> str:
    """Return the level of a proof: the lowest of its samples, except for formats that the server need not have."""
    return lowest(sample.level for sample in samples if sample.offered)


def check_format(data: bytes, audio_format: str, same_as: str | None) -> tuple[Stream | None, list[Finding]]:
    """Check an answer's container. `same_as` names the voice whose answer had exactly the same bytes, if any."""
    expected, rate = audio.LABELS[FORMATS[audio_format]], OPUS_RATE if audio_format == "opus" else SAMPLE_RATE
    try:
        stream = audio.inspect(data)
    except AudioError as error:
        return None, [Finding("container", "format", False, None, expected, str(error))]
    findings = []

    def look(name: str, ok: bool, value: float | str | None, limit: str, good: str, bad: str) -> None:
        findings.append(Finding.of(name, "format", ok, value, limit, good, bad))

    good, bad = f"It is {stream.label}.", f"It is {stream.label}, but {expected} was requested."
    look("container", stream.label == expected, stream.label, expected, good, bad)
    hertz = f"It has {stream.sample_rate} Hz"
    bad = f"{hertz} instead of {rate} Hz. Kokoro makes {SAMPLE_RATE} Hz."
    look("sample_rate", stream.sample_rate == rate, stream.sample_rate, f"{rate} Hz", f"{hertz}.", bad)
    bad = f"It has {stream.channels} channels; Kokoro makes one."
    look("channels", stream.channels == 1, stream.channels, "1", "It is mono.", bad)
    bad = f"The file is truncated: {stream.note}."
    look("complete", stream.complete, None, "whole file", "It is complete.", bad)
    good = "No other voice gave the same bytes."
    bad = f"It is identical to the answer of {same_as}: the server repeats an answer or ignores the voice."
    look("distinct", same_as is None, same_as, "differs from every other voice's answer", good, bad)
    return stream, findings


def judge_samples(decoded: tuple[array[int], int] | str, text: str) -> tuple[list[Finding], dict[str, float]]:
    """Return acoustic findings and measurements of decoded samples, or of the reason why there are none."""
    if isinstance(decoded, str):
        return [Finding("acoustic", "acoustic", None, None, "measured", f"UNVERIFIED: {decoded}")], {}
    measured = acoustics.measure(*decoded)
    numbers = {name: round(value, 4) for name, value in asdict(measured).items()}
    return acoustics.judge(measured, speech.expected_length(text)), numbers


def decode(blobs: list[bytes], python: str | None, timeout: float) -> list[tuple[array[int], int] | str]:
    """Decode files other than WAV with `soundfile` of another interpreter.

    Each entry is (samples, sample rate), or the reason why there are none.
    """
    if not blobs:
        return []
    if not python:
        return ["no Python with soundfile is named that could decode it"] * len(blobs)
    try:
        program = f"MOST_FRAMES = {MOST_FRAMES}\n{_DECODER}"
        decoded = interpreter.ask(python, program, [base64.b64encode(blob).decode() for blob in blobs], timeout)
    except InterpreterError as error:
        return [f"{python} could not decode it: {error}"] * len(blobs)
    return [
        item["error"] if "error" in item else (audio.samples_of(base64.b64decode(item["pcm"])), item["rate"])
        for item in decoded
    ]


def prove(client: SpeechClient, wanted: Wanted, python: str | None = None) -> tuple[list[Sample], dict[str, bytes]]:
    """Request every voice in every format, one after the other. Return the samples, and their bytes by file name."""
    formats = list(dict.fromkeys([*wanted.formats, *wanted.extra_formats]))
    samples = [Sample(voice, form) for form in formats for voice in wanted.voices]
    lacking: dict[str, str] = {}
    answers: dict[str, bytes] = {}
    givers: dict[str, str] = {}
    failures = speech.Failures()
    for sample in samples:
        model = wanted.model_of(sample.voice)
        hopeless = failures.why_not(model)
        if hopeless is not None:
            sample.findings = [Finding("answer", "format", None, None, "200", f"Not tried, because: {hopeless}")]
            continue
        try:
            if sample.format in lacking:
                raise SpeechError("no_format", lacking[sample.format])
            reply = client.speak(model, wanted.text_of(sample.voice), sample.voice, sample.format)
        except SpeechError as error:
            failures.note(model, error)
            if error.kind == "no_format" and sample.format not in wanted.formats:
                lacking[sample.format] = str(error)
                sample.offered = False
                said = f"The server does not have the format {sample.format}. {error}"
                sample.findings = [Finding("offered", "format", None, error.status, "where the server has it", said)]
                continue
            sample.findings = [Finding("answer", "format", False, error.status, "200", str(error))]
            continue
        failures.note(model, None)
        answers[sample.file_name] = reply.data
        sample.bytes = len(reply.data)
        sample.sha256 = sha256_bytes(reply.data)
        sample.latency_seconds = round(reply.seconds, 3)
        stream, sample.findings = check_format(reply.data, sample.format, givers.get(sample.sha256))
        givers.setdefault(sample.sha256, sample.voice)
        if stream is not None and stream.seconds > 0:
            sample.audio_seconds = round(stream.seconds, 3)
            sample.real_time_factor = round(reply.seconds / stream.seconds, 3)
    sound = [sample for sample in samples if level_of(sample.findings) == "format"]
    others = [sample for sample in sound if sample.format != "wav"]
    blobs = decode([answers[sample.file_name] for sample in others], python, client.timeout)
    decoded: dict[str, tuple[array[int], int] | str] = {
        sample.file_name: result for sample, result in zip(others, blobs)
    }
    outlines: dict[str, dict[str, list[float]]] = {}
    for sample in sound:
        if sample.format == "wav":
            decoded[sample.file_name] = audio.decode_wav(answers[sample.file_name])
        heard = decoded[sample.file_name]
        findings, sample.measurements = judge_samples(heard, wanted.text_of(sample.voice))
        sample.findings += findings
        if not isinstance(heard, str):
            spoken = outlines.setdefault(sample.format, {})
            sample.findings += acoustics.judge_voice(*heard, spoken, sample.voice)
    if wanted.tries(recogniser.LEVEL):
        recordings = [
            recogniser.Recording(each.voice, each.file_name, answers[each.file_name], wanted.text_of(each.voice))
            for each in sound
        ]
        words = recogniser.listen(client, recordings, wanted.text, python, wanted.transcriber, wanted.word_error_rate)
        for sample, finding in zip(sound, words):
            sample.findings.append(finding)
    settle(samples)
    return samples, answers


def still_alive(client: SpeechClient, wanted: Wanted) -> float:
    """Send one short request to each model; return the seconds of the slowest. Raises SpeechError if one is silent."""
    voices = {wanted.model_of(voice): voice for voice in reversed(wanted.voices)}
    return max(_alive(client, model, voices[model]) for model in sorted(voices))


def _alive(client: SpeechClient, model: str, voice: str) -> float:
    reply = client.speak(model, LIVE_TEXT, voice, "wav")
    stream, findings = check_format(reply.data, "wav", None)
    bad = [finding.sentence for finding in findings if not finding.ok]
    if stream is None or bad:
        raise SpeechError("odd", f"{client.endpoint} did not answer with a sound file. {' '.join(bad)}")
    if not any(audio.decode_wav(reply.data)[0]):
        raise SpeechError("odd", f"{client.endpoint} answered with silence.")
    return reply.seconds


def as_report(
    wanted: Wanted, samples: list[Sample], unpublished: dict[str, str], facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the proof as it is kept. `facts` are added unchanged: profile, manifest digest and so on."""
    return {
        "tried_level": wanted.top,
        "extra_formats": wanted.extra_formats,
        "findings": [asdict(finding) for finding in untried(wanted)],
        "phonemes": [],
        "performance": {},
        "offline": {},
        **wanted.key(),
        **facts,
        "schema": 1,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": reached(samples),
        "error_rates": recogniser.error_rates((each.voice, found) for each in samples for found in each.findings),
        "unpublished": unpublished,
        "samples": [asdict(sample) for sample in samples],
    }


def in_words(report: dict[str, Any]) -> list[str]:
    """Return a proof as lines for the terminal: one for each sample, with its faults below."""
    lines = []
    for sample in report["samples"]:
        numbers = ""
        if sample["audio_seconds"] is not None:
            numbers = (
                f", {sample['audio_seconds']:.2f} s of audio in {sample['latency_seconds']:.2f} s"
                f" (real-time factor {sample['real_time_factor']:.2f})"
            )
        lines.append(f"{sample['voice']} {sample['format']}: {sample['level']}{numbers}")
        lines += [
            f"  {'UNVERIFIED' if finding['ok'] is None else 'FAIL'} {finding['name']}: {finding['sentence']}"
            for finding in sample["findings"]
            if finding["ok"] is not True
        ]
    heard = [f"{letter} {rate:.1%}" for letter, rate in report.get("error_rates", {}).items()]
    if heard:
        lines.append(f"wrong words by language, in the ears of {report['transcriber']}: {', '.join(heard)}")
    lines += [f"{each['name']} becomes the right phonemes" for each in report.get("phonemes", []) if each["ok"]]
    lines += [_speed(*series) for series in report.get("performance", {}).get("parallel", {}).items()]
    shared = [finding for finding in report.get("findings", []) if finding["name"] != "untried"]
    lines += filter(None, map(_in_words, shared))
    watched = [finding["ok"] for finding in shared if finding["level"] == "offline"]
    if watched and all(watched):
        lines.append(f"{report['offline']['unit']} contacted nothing outside from its start to its first words")
    left = [finding["level"] for finding in report.get("findings", []) if finding["name"] == "untried"]
    if left:
        lines.append(f"not tried: {', '.join(left)}")
    if report["unpublished"]:
        lines.append(sources.sentence(report["unpublished"]))
    return lines


def _speed(at_once: str, series: dict[str, Any]) -> str:
    """Return a series of requests as one line: median and 95th percentile of each measure."""
    numbers = [
        f"{words} {series[name]['p50']:.2f} / {series[name]['p95']:.2f}{'' if name == 'real_time_factor' else ' s'}"
        for name, words in MEASURES.items()
        if name in series
    ]
    how = "one at a time" if at_once == "1" else f"{at_once} at once"
    return f"{series['requests']} requests, {how} (p50 / p95): {', '.join(numbers) or 'no answer'}"


def _in_words(finding: dict[str, Any]) -> str:
    """Return a finding that is not good as a line, otherwise nothing."""
    word = {None: "UNVERIFIED", False: "FAIL", True: ""}[finding["ok"]]
    return word and f"  {word} {finding['name']}: {finding['sentence']}"


class Evidence:
    """Kept proofs of one host. Only root can read `folder`; each release has its own folder in it."""

    def __init__(self, folder: str, release_id: str) -> None:
        self.root = folder
        self.folder = os.path.join(folder, release_id)
        self.proof = os.path.join(self.folder, PROOF_FILE)

    def read(self) -> dict[str, Any] | None:
        """Return the kept proof, or None if there is none or it is damaged."""
        report = read_object(self.proof)
        try:
            good = report["schema"] == 1 and report["time"] and {report["level"], report["required_level"]} <= {*LEVELS}
            # Whoever reads a proof shows it, so one that cannot be shown is damaged.
            in_words(report)
            textfile.render(report, None, 0.0)
        except _DAMAGED:
            return None
        return report if good else None

    def holds(self, wanted: Wanted) -> dict[str, Any] | None:
        """Return the kept proof if it matches, reached the required level, and its files are unchanged."""
        report = self.read()
        if report is None or any(report.get(name) != value for name, value in wanted.key().items()):
            return None
        try:
            if LEVELS.index(report["level"]) < LEVELS.index(wanted.required_level):
                return None
            if LEVELS.index(report.get("tried_level", ALWAYS)) < LEVELS.index(wanted.top):
                return None
            if not {*wanted.extra_formats} <= {*report.get("extra_formats", []), *wanted.formats}:
                return None
            kept = [sample for sample in report["samples"] if sample.get("offered", True)]
            whole = all(sample["sha256"] == self._digest(sample) for sample in kept)
        except _DAMAGED:
            return None
        return report if whole and kept else None

    def _digest(self, sample: dict[str, Any]) -> str:
        """Return the digest of a kept sound file. Raises OSError, ValueError if it is not one of this folder."""
        name = os.path.basename(sample["file"])
        path = os.path.join(self.folder, name)
        if name != f"{sample['voice']}.{sample['format']}" or not os.path.isfile(path):
            raise ValueError(f"{sample['file']} is no kept sound file")
        return sha256_file(path)

    def write(self, report: dict[str, Any], answers: dict[str, bytes]) -> None:
        """Keep a proof: sound files first, `proof.json` last. Remove files of an earlier proof. Raises OSError."""
        os.makedirs(os.path.dirname(self.root), exist_ok=True)
        ownership.claim(self.root)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)
        for sample in report["samples"]:
            name = f"{sample['voice']}.{sample['format']}"
            if name in answers:
                sample["file"] = os.path.join(self.folder, name)
                write_atomic(sample["file"], answers[name], 0o600)
        write_atomic(self.proof, canonical_json(report), 0o600)
        for name in os.listdir(self.folder):
            if name not in answers and name.rpartition(".")[2] in FORMATS:
                os.unlink(os.path.join(self.folder, name))


def read_release(path: str) -> dict[str, Any]:
    """Read a release's `release.json`: id, voices, stand-ins and interpreter. Raises ValueError in a sentence."""
    try:
        release = parse_json(read_bounded(path))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: no release was deployed to this host.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from None
    if not isinstance(release, dict) or not isinstance(release.get("id"), str):
        raise ValueError(f"{path} names no release, so the role kokoro did not write it.")
    return release


def interpreter_beside(release_file: str) -> str:
    """Return the interpreter of the release to which a `release.json` belongs."""
    return os.path.join(os.path.dirname(os.path.realpath(release_file)), "env", "bin", "python")
