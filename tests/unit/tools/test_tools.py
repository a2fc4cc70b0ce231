# SPDX-License-Identifier: GPL-3.0-or-later
"""The developer's tools: stand-ins, the sources that answer, the end of quickstart, the bench."""

from __future__ import annotations

import http.server
import importlib.util
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import terms
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="tools run on the developer's machine")


def load(path: str) -> ModuleType:
    """The module of a script, which may import modules beside it."""
    spec = importlib.util.spec_from_file_location("tool_" + re.sub(r"\W", "_", path), ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str((ROOT / path).parent))
        spec.loader.exec_module(module)
    return module


class TestStandins:
    # Those of the Penn treebank that spaCy's English models use and misaki looks at.
    TAGS = (
        "$ '' , -LRB- -RRB- . : ADD AFX CC CD DT EX FW HYPH IN JJ JJR JJS LS MD NFP NN NNP NNPS NNS PDT POS PRP PRP$ RB"
        " RBR RBS RP SYM TO UH VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB XX _SP ``"
    )

    def make(self) -> ModuleType:
        return load("tools/standins/make.py")

    def test_the_sentences_contain_every_tag(self) -> None:
        assert {tag for _words, tags in self.make().read_tagged() for tag in tags} == set(self.TAGS.split())

    def test_the_configuration_is_the_published_one(self) -> None:
        assert self.make().sha256(ROOT / "tools/standins/kokoro-config.json") == catalogue.KOKORO_CONFIG[1]

    def test_a_folder_counts_as_made_while_nothing_changes(self, tmp_path: Path) -> None:
        make = self.make()
        made = tmp_path / "made"
        made.mkdir()
        (made / "a.pt").write_bytes(b"a")
        make.publish(made, tmp_path / "kokoro", "maker")
        marker = json.loads((tmp_path / "kokoro/SOURCE.json").read_text())
        assert marker["source"] == "made-up"
        assert list(marker["files"]) == ["a.pt"]
        assert make.is_made(tmp_path / "kokoro", "maker")
        assert not make.is_made(tmp_path / "kokoro", "another maker")
        (tmp_path / "kokoro/a.pt").unlink()
        assert not make.is_made(tmp_path / "kokoro", "maker")

    def test_other_voices_need_a_new_folder(self) -> None:
        make = self.make()
        assert make.maker_digest(["af_heart"]) != make.maker_digest(["af_heart", "am_michael"])

    def test_equal_contents_give_equal_bytes(self, tmp_path: Path) -> None:
        for name, mtime in (("old", 1), ("new", 2_000_000_000)):
            with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
                member = tarfile.TarInfo("package/file")
                member.size, member.mtime, member.uname = 4, mtime, name
                archive.addfile(member, io.BytesIO(b"data"))
            self.make().repack(tmp_path / f"{name}.tar.gz", tmp_path / f"{name}.out")
        assert (tmp_path / "old.out").read_bytes() == (tmp_path / "new.out").read_bytes()


class TestReachable:
    def test_every_endpoint_answers_or_gives_a_reason(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(200 if self.path == "/there" else 403)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        reachable = load("tools/reachable.py")
        with (
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
            socket.create_server(("127.0.0.1", 0)) as silent,
        ):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            sources = {"spacy": address + "/there", "kokoro": address + "/not"}
            sources["silent"] = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            monkeypatch.setattr(reachable, "SOURCES", sources)
            monkeypatch.setattr(reachable, "SECONDS", 0.5)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            reachable.main()
            server.shutdown()
        said = capsys.readouterr()
        assert said.out == "spacy\n"
        assert "403" in said.err
        assert sources["silent"] in said.err


class TestQuickstart:
    @pytest.mark.parametrize(
        "text",
        ["The quick brown fox.", 'It\'s "his" `$HOME` \\ & 100 % of $5!', "Über den Fluß: 今日は。", "One.\n\nTwo."],
    )
    def test_the_curl_line_speaks_any_text_without_a_key(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        line = load("tools/quickstart.py").curl_line("host", "af_heart", text)
        assert "@/etc/voicefleet/client.header" in line
        assert "Bearer" not in line
        docker = tmp_path / "docker"
        docker.write_text("#!/bin/sh\ncat\n")
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
        asked = json.loads((tmp_path / "speech.wav").read_text())
        assert asked == {"model": "kokoro", "voice": "af_heart", "response_format": "wav", "input": text}

    def test_a_line_without_sound_ends_the_run(self) -> None:
        with pytest.raises(SystemExit, match="does not work"):
            load("tools/quickstart.py").try_curl("echo refused > speech.wav")

    def test_every_level_is_explained(self) -> None:
        assert tuple(load("tools/quickstart.py").MEANS) == terms.LEVELS


class TestBench:
    @pytest.mark.parametrize(
        ("fresh", "unchanged", "tasks", "changed", "status"),
        [
            (110.0, 8.0, 10, 0, 0),
            (111.0, 8.0, 10, 0, 1),
            (110.0, 13.0, 10, 0, 1),
            (110.0, 8.0, 13, 0, 1),
            (110.0, 8.0, 10, 1, 1),
        ],
    )
    def test_a_missed_target_gives_an_exit_status(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        fresh: float,
        unchanged: float,
        tasks: int,
        changed: int,
        status: int,
    ) -> None:
        (tmp_path / "floor.txt").write_text("copy 40.0\nstart 60.0\n")
        for name, seconds in (("plain", 300.0), ("fresh", fresh), ("unchanged", unchanged)):
            hosts = {"localhost": {"ok": 99, "changed": 9}, "host": {"ok": tasks, "changed": changed}}
            run = {"phases": {"python_env": seconds}, "seconds": seconds, "hosts": hosts}
            (tmp_path / f"{name}.json").write_text(json.dumps(run))
        monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path), "host"])
        assert load("bench/report.py").main() == status
        printed = capsys.readouterr().out
        assert ("MISSED" in printed) == bool(status)
        assert "plain copy and pip" in printed
        written = json.loads((tmp_path / "phases.json").read_text())
        assert written["ratio"] == round(fresh / 100, 2)
        together = {"floor": 100.0, "plain": 300.0, "fresh": fresh, "unchanged": unchanged}
        assert written["seconds"] == together
        assert written["plain"] == {"python_env": 300.0}


class TestStarts:
    @pytest.mark.parametrize(("ours", "status"), [((30.0, 20.0, 24.0), 0), ((30.0, 20.0, 24.1), 1)])
    def test_the_medians_of_one_run_are_compared(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], ours: tuple[float, ...], status: int
    ) -> None:
        """At most 0.6 of stock; one slow round on either side does not count."""
        rows = [("stock", seconds) for seconds in (40.0, 90.0, 39.9)] + [("ours", seconds) for seconds in ours]
        (tmp_path / "start.txt").write_text(
            "".join(
                json.dumps({"which": which, "phases": {"service ready": 9.0}, "seconds": seconds}) + "\n"
                for which, seconds in rows
            )
        )
        start = load("bench/start.py")
        assert start.report(tmp_path) == status
        assert ("MISSED" in capsys.readouterr().out) == bool(status)
        written = json.loads((tmp_path / "start.json").read_text())
        assert written["median"] == {"stock": 40.0, "ours": ours[2]}
        assert written["met"] is not bool(status)


class TestFleets:
    def test_a_copy_of_the_playbooks_differs_only_in_the_strategy(self, tmp_path: Path) -> None:
        play = load("bench/fleet.py").playbooks(ROOT / "playbooks", tmp_path, "free")
        original = (ROOT / "playbooks/deploy.yml").read_text()
        assert "strategy: ansible.builtin.linear" in original
        assert play.read_text() == original.replace("builtin.linear", "builtin.free")
        assert (play.parent / "tasks/host.yml").exists()

    def test_memory_is_that_of_a_process_and_its_descendants(self) -> None:
        memory = load("bench/memory.py")
        many = "x = b'x' * 50_000_000; import sys; sys.stdin.read()"
        wait = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {many!r}])"
        with subprocess.Popen([sys.executable, "-c", wait], stdin=subprocess.PIPE) as parent:
            deadline = time.monotonic() + 20
            while (used := memory.megabytes(memory.family(parent.pid))) < 50 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert 50 < used < 200
            assert len(memory.family(parent.pid)) == 2
            parent.communicate()


class TestServing:
    """bench/serve: its figures, its targets, and requests that fail."""

    @pytest.fixture
    def serve(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        monkeypatch.syspath_prepend(str(ROOT / "bench"))
        return load("bench/serve.py")

    @pytest.fixture
    def speaks(self, serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
        """A stand-in for the bare Xinference, which speaks for a second. An empty text gets a 500."""
        asked: list[dict[str, Any]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200 if asked[-1]["input"] else 500)
                self.end_headers()
                self.wfile.write(b"x" * 48000)

            def log_message(self, *_arguments: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            monkeypatch.setitem(serve.PORTS, "bare", server.server_address[1])
            yield asked
            server.shutdown()

    def test_each_client_sends_its_requests(self, serve: ModuleType, speaks: list[dict[str, Any]]) -> None:
        found = serve.series("bare", 4, True)
        assert len(found["rows"]) == len(speaks) == 4 * serve.CLIENTS[4]
        assert {row["sound"] for row in found["rows"]} == {1.0}
        assert all(0 < row["first"] <= row["all"] <= found["seconds"] for row in found["rows"])
        assert {body["response_format"] for body in speaks} == {"pcm"}

    @pytest.mark.usefixtures("speaks")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_request_that_fails_ends_the_run_and_says_why(
        self, serve: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        monkeypatch.setattr(threading, "excepthook", lambda given: said.append(str(given.exc_value)))
        monkeypatch.setattr(serve, "SENTENCE", "")
        with pytest.raises(SystemExit, match="only 0 of 8 requests were answered"):
            serve.series("bare", 4, False)
        assert len(said) == 4
        assert "bare answered 500" in said[0]

    @pytest.mark.usefixtures("speaks")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_nothing_is_measured_beside_a_long_text_that_fails(
        self, serve: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(serve.PORTS, "ours", serve.PORTS["bare"])
        monkeypatch.setattr(serve, "KEYS", {})
        monkeypatch.setattr(serve, "LONG", "")
        with pytest.raises(SystemExit, match="no short text was spoken beside the long one"):
            serve.beside()

    def test_the_percentile_is_a_value_that_the_share_does_not_exceed(self, serve: ModuleType) -> None:
        assert serve.percentile([float(value) for value in range(20, 0, -1)], 0.95) == 19
        assert serve.percentile([7.0], 0.95) == 7
        assert serve.percentile([float(value) for value in range(1, 97)], 0.95) == 92

    @pytest.mark.parametrize(
        ("ours", "balancer", "first", "short", "missing"),
        [
            (2.1, 2.1, 1.5, 5.0, []),
            (2.2, 2.1, 1.5, 5.0, ["ours / bare, one client"]),
            (2.1, 2.2, 1.5, 5.0, ["with balancer / bare, one client"]),
            (2.1, 2.1, 1.6, 5.0, ["first byte / whole of a minute, balancer"]),
            (2.1, 2.1, 1.5, 5.1, ["a short text beside a long one / alone"]),
        ],
    )
    def test_every_target_can_be_missed(
        self, serve: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], ours: float, balancer: float,
        first: float, short: float, missing: list[str],
    ) -> None:  # fmt: skip
        def rows(whole: float, count: int) -> list[dict[str, float]]:
            return [{"first": whole / 4, "all": whole, "sound": 4.0}] * count

        lines: list[dict[str, Any]] = [
            {"which": which, "clients": clients, "streamed": streamed, "rows": rows(whole, 8), "seconds": 16.0}
            for clients in serve.CLIENTS
            for which, whole in (("bare", 2.0), ("ours", ours), ("balancer", balancer))
            for streamed in ((False, True) if which != "bare" else (False,))
        ]
        for through, of_whole in (("ours", 1.0), ("balancer", first)):
            stream = {"first": of_whole, "all": 10.0, "sound": 60.0}
            lines.append({"what": "stream", "through": through, "rows": [stream] * 3})
        lines.append({"what": "beside", "alone": [2.0] * 5, "short": [short] * 5, "long": 100.0})
        (tmp_path / "serve.txt").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert serve.report(tmp_path) == (1 if missing else 0)
        said = capsys.readouterr().out
        written = json.loads((tmp_path / "serve.json").read_text())
        assert [name for name, target in written["targets"].items() if not target["met"]] == missing
        assert len(written["targets"]) == 5
        assert said.count("MISSED") == len(missing)
        assert len(re.findall(r"^ +(?:1|4|16) (?:bare|ours|balancer)", said, re.MULTILINE)) == 15
        (bare,) = re.findall(r"^ +16 bare +(.*)$", said, re.MULTILINE)
        assert bare.split() == ["0.50", "0.50", "2.00", "2.00", "0.50", "0.50"]
        assert "a text of 60 s, streamed, ours: first byte after 1.00 s, all after 10.00 s" in said
