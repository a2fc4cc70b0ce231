# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import Reply, SpeechError
from ansible_collections.voicefleet.kokoro.plugins.modules import synthesis_check
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import pcm, speech_like, wav, white

SPEECH = wav(pcm(speech_like(seed=1)))
NOISE = wav(pcm(white(2.6)))


class Endpoint:
    """The server of a test: its answers, and the requests that it got."""

    def __init__(self) -> None:
        self.answer: bytes | SpeechError = SPEECH
        self.asked: list[tuple[str, str, str]] = []
        self.made: tuple[Any, ...] = ()

    def client(self, *arguments: Any) -> Endpoint:
        self.made = arguments
        self.endpoint, _key, self.timeout, _patience, _certificates = arguments
        return self

    def speak(self, model: str, text: str, voice: str, audio_format: str) -> Reply:
        self.asked.append((text, voice, audio_format))
        if isinstance(self.answer, SpeechError):
            raise self.answer
        return Reply(self.answer, "audio/wav", 0.4, 0.5)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    server = Endpoint()
    monkeypatch.setattr(synthesis_check, "SpeechClient", server.client)
    return server


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Run the module with some arguments; returns its result and exit status."""
    key = tmp_path / "key"
    key.write_text("xf-secret\n")

    def call(**arguments: Any) -> tuple[dict[str, Any], int]:
        given = {
            "release_id": "1.2.3-abc",
            "voices": ["af_heart"],
            "formats": ["wav"],
            "text": "One two three four five.",
            "api_key_file": str(key),
            "evidence_dir": str(tmp_path / "evidence"),
            **arguments,
        }
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            synthesis_check.main()
        out = capfd.readouterr().out
        assert "xf-secret" not in out
        return json.loads(out), int(ended.value.code or 0)

    return call


def test_a_first_proof(server: Endpoint, run: Any, tmp_path: Path) -> None:
    result, status = run(profile="cpu", manifest_sha256="5b1c")
    assert (status, result["changed"], result["level"], result["live"]) == (0, True, "acoustic", False)
    assert server.made[:3] == ("http://127.0.0.1:9997", "xf-secret", 120)
    assert result["samples"][0]["file"] == str(tmp_path / "evidence/1.2.3-abc/af_heart.wav")
    kept = json.loads(Path(result["proof"]).read_text())
    assert (kept["profile"], kept["manifest_sha256"], kept["level"]) == ("cpu", "5b1c", "acoustic")
    assert result["diff"]["before"].strip() == ""
    assert "af_heart wav: acoustic" in result["diff"]["after"]


def test_an_unchanged_run_makes_one_short_request(server: Endpoint, run: Any) -> None:
    first, _status = run()
    server.asked.clear()
    result, status = run()
    assert (status, result["changed"], result["live"], result["live_seconds"]) == (0, False, True, 0.5)
    assert server.asked == [("Ready.", "af_heart", "wav")]
    assert result["samples"] == first["samples"]
    assert result["time"] == first["time"]


@pytest.mark.parametrize(
    "change",
    [{"refresh": True}, {"text": "Six seven eight nine ten."}, {"voices": ["am_michael"]}, {"release_id": "2"}],
)
def test_changed_settings_repeat_the_proof(server: Endpoint, run: Any, change: dict[str, Any]) -> None:
    run()
    server.asked.clear()
    result, status = run(**change)
    assert (status, result["changed"], result["live"]) == (0, True, False)
    assert server.asked[0][0] != "Ready."


def test_a_proof_that_holds_does_not_hide_a_dead_model(server: Endpoint, run: Any) -> None:
    run()
    server.answer = SpeechError("refused", "Nothing listens.")
    result, status = run()
    assert (status, result["level"], result.get("changed", False)) == (1, "none", False)
    assert result["msg"] == "No speech: Nothing listens."


def test_a_repaired_release_is_proved_again(server: Endpoint, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    for made, live in ((1, False), (1, True), (2, False), (2, True)):
        file.write_text(json.dumps({"id": "1.2.3-abc", "voices": ["af_heart"], "made": made}))
        result, status = run(release_id=None, release_file=str(file))
        assert (status, result["live"]) == (0, live)


def test_noise_fails_with_every_finding_and_its_evidence_is_kept(server: Endpoint, run: Any) -> None:
    server.answer = NOISE
    result, status = run(unpublished={"kokoro/x.pth": "made-up"}, voices=["af_heart", "am_michael"])
    assert (status, result["level"]) == (1, "none")
    assert "2 of 2 samples did not reach the level acoustic" in result["msg"]
    assert "FAIL noise: The audio is white noise" in result["msg"]
    assert "FAIL distinct: It is identical to the answer of af_heart" in result["msg"]
    assert "this audio is not Kokoro's voice (kokoro/x.pth)" in result["msg"]
    assert Path(result["samples"][0]["file"]).read_bytes() == NOISE


def test_a_stand_in_passes_if_only_the_format_is_required_and_is_named(server: Endpoint, run: Any) -> None:
    server.answer = NOISE
    result, status = run(unpublished={"kokoro/x.pth": "made-up"})
    assert status == 1
    assert "say only 'The quick brown fox jumps over the lazy dog.'" in result["msg"]
    result, status = run(unpublished={"kokoro/x.pth": "made-up"}, required_level="format")
    assert (status, result["level"]) == (0, "format")
    assert "this audio is not Kokoro's voice (kokoro/x.pth)" in result["msg"]
    assert any(f["name"] == "noise" and f["ok"] is False for f in result["samples"][0]["findings"])


def test_check_mode_requests_nothing_writes_nothing_and_never_fails(server: Endpoint, run: Any, tmp_path: Path) -> None:
    result, status = run(_ansible_check_mode=True, api_key_file="/none")
    assert (status, result["changed"], result["level"]) == (0, True, "none")
    assert "would synthesise 1 voices in wav" in result["msg"]
    assert not (tmp_path / "evidence").exists()
    run()
    server.asked.clear()
    result, status = run(_ansible_check_mode=True)
    assert (status, result["changed"], result["level"]) == (0, False, "acoustic")
    result, status = run(_ansible_check_mode=True, release_id=None, release_file=str(tmp_path / "none"))
    assert (status, result["changed"]) == (0, True)
    assert server.asked == []


def test_the_release_file_gives_the_missing_options(server: Endpoint, run: Any, tmp_path: Path) -> None:
    release = {"id": "1.2.3-def", "voices": ["bf_emma"], "unpublished": {"kokoro/x.pth": "made-up"}, "profile": "cpu"}
    wheels = [{"kind": "wheel", "name": name, "version": "1.2.3"} for name in ("xinference", "requests")]
    release.update({"python": {"version": "3.11"}, "artifacts": wheels})
    (tmp_path / "release.json").write_text(json.dumps(release))
    result, status = run(release_id=None, voices=[], release_file=str(tmp_path / "release.json"))
    assert status == 0
    assert (result["release_id"], result["voices"]) == ("1.2.3-def", ["bf_emma"])
    assert (result["unpublished"], result["profile"]) == ({"kokoro/x.pth": "made-up"}, "cpu")
    assert result["versions"] == {"python": "3.11", "xinference": "1.2.3"}
    result, status = run(release_id=None, release_file=str(tmp_path / "none"))
    assert status == 1
    assert "no release was deployed" in result["msg"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"voices": ["../../etc/passwd"]}, "is not a valid name of a voice"),
        ({"voices": []}, "No voice is named"),
        ({"api_key_file": "/nonexistent/key"}, "does not exist"),
        ({"release_id": None}, "which release to prove"),
    ],
)
def test_bad_input_is_refused_before_any_request(
    server: Endpoint, run: Any, change: dict[str, Any], words: str
) -> None:
    result, status = run(**change)
    assert status == 1
    assert words in result["msg"]
    assert server.asked == []


# --- any OpenAI-style endpoint, as a real server on loopback that knows nothing of Xinference


class Foreign(http.server.BaseHTTPRequestHandler):
    """Speaks WAV alone, a syllable for each letter; each voice has a seed."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer xf-secret" or asked["model"] != "tts-1":
            return self.reply(401, b"{}")
        if asked["response_format"] != "wav":
            return self.reply(400, b'{"error": {"message": "response_format: only wav is supported"}}')
        seed = {"alloy": 1, "nova": 2}[asked["voice"]]
        return self.reply(200, wav(pcm(speech_like(0.08 * len(asked["input"]), seed))))

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_foreign_endpoint_is_proved_as_far_as_possible(foreign: str, run: Any) -> None:
    result, status = run(
        endpoint=foreign,
        model="tts-1",
        release_id="tts-1",
        voices=["alloy", "nova"],
        text="One two three four five six seven.",
        extra_formats=["opus"],
        try_level="offline",
        requests=2,
        parallel=2,
    )
    assert (status, result["level"]) == (0, "acoustic"), result["lines"]
    found = {(each["level"], each["name"]): each["ok"] for each in result["findings"]}
    assert found == {
        **{("phonemes", "sentence"): None, ("phonemes", "invented_audio"): True},
        **{("performance", name): True for name in ("first_byte", "latency", "real_time_factor")},
        **{("performance", f"parallel_{name}"): True for name in ("first_byte", "latency", "real_time_factor")},
        **{("performance", "gpu"): None, ("offline", "watched"): None},
    }
    said = "\n".join(result["lines"])
    assert "American English could not be tried: no release's Python with misaki is named" in said
    assert "No reference text is pinned for the language 'n'" in said
    assert "opus: none" in said
    assert [sample["offered"] for sample in result["samples"]] == [True, True, False, False]
    assert result["performance"]["parallel"]["2"]["requests"] == 2


def test_a_required_level_that_cannot_be_tried_fails_with_the_reason(foreign: str, run: Any) -> None:
    result, status = run(endpoint=foreign, model="tts-1", voices=["alloy"], required_level="phonemes")
    assert status == 1
    assert "did not reach the level phonemes" in result["msg"]
    assert "UNVERIFIED sentence: American English could not be tried" in result["msg"]


def test_a_missed_limit_fails_if_its_level_is_required(server: Endpoint, run: Any) -> None:
    slow = {"limits": {"latency": 0.1}, "requests": 1, "parallel": 1}
    result, status = run(try_level="performance", **slow)
    assert (status, result["level"]) == (0, "acoustic")
    assert any(each["name"] == "latency" and each["ok"] is False for each in result["findings"])
    result, status = run(required_level="performance", **slow)
    assert status == 1
    assert (
        "FAIL latency: Requests one at a time: whole answer 0.50 s in the middle, 0.50 s for 95 of 100; over the"
        in (result["msg"])
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"limits": {"latency": -1}}, "synthesis_limits: latency is -1.0; it must be a number above 0."),
        ({"parallel": 0}, "synthesis_parallel is 0; it must be 1 to 256"),
        ({"requests": 10**6}, "synthesis_requests is 1000000; it must be 1 to 1000"),
    ],
)
def test_invalid_load_settings_are_refused_before_any_request(
    server: Endpoint, run: Any, given: dict[str, Any], words: str
) -> None:
    result, status = run(**given)
    assert (status, words in result["msg"]) == (1, True)
    assert server.asked == []


def test_the_proof_of_a_candidate_marks_no_phase_of_its_own(
    server: Endpoint, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[str] = []
    monkeypatch.setattr(synthesis_check.deploy_lock, "mark", marked.append)
    run(candidate=True)
    assert marked == []
    run(candidate=False)
    assert marked == ["proof"]
