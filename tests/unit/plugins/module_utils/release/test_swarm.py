# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of a delivery by swarm, with a systemd that only notes what it is told."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import (
    artifacts as received,
    swarm,
    swarm_engine,
)


def wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("libtorrent/__init__.py", "")
    return made.getvalue()


class Lab:
    """A host with artifacts ``a`` (there), ``b`` (in part) and ``c`` (absent)."""

    def __init__(self, root: Path) -> None:
        self.root = str(root / "root")
        self.calls: list[list[str]] = []
        self.active, self.restarts, self.journal = "active", "0", ""
        units = root / "units"
        units.mkdir()
        self.unit = systemd_unit.Unit(layout.SWARM_UNIT, str(units), self.run)
        self.host = swarm.Host(self.root, self.unit)
        self.data = {name: name.encode() * 1000 for name in "abc"}
        self.engine = wheel()
        self.rows = {name: self.row(f"wheels/{name}.whl", data) for name, data in self.data.items()}
        self.engine_row = self.row("engine/libtorrent-1-cp311.whl", self.engine)
        received.prepare(self.root, [])
        self.arrive("a", self.data["a"])
        received.commit(self.root, [self.rows["a"]])
        self.arrive("b", self.data["b"][:400])

    @staticmethod
    def row(path: str, data: bytes) -> dict[str, Any]:
        return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    def run(self, command: Any, _timeout: float) -> tuple[int, str]:
        self.calls.append(list(command))
        answers = {"--property=ActiveState": self.active, "--property=NRestarts": self.restarts}
        said = self.journal if command[0] == "journalctl" else ""
        return 0, next((answer for option, answer in answers.items() if option in command), said)

    def arrive(self, name: str, data: bytes) -> None:
        row = self.rows.get(name, {})
        sha256 = row.get("sha256") or self.engine_row["sha256"]
        (Path(self.root) / "artifacts/.incoming" / f"{sha256}.part").write_bytes(data)

    def join(self) -> list[str]:
        self.host.prepare([self.engine_row])
        self.arrive("engine", self.engine)
        peers = [["10.0.0.2", 6891], ["2001:db8::3", 6891]]
        torrent = base64.b64encode(b"d4:infoe").decode()
        return self.host.join(self.engine_row, torrent, list(self.rows.values()), peers, 6891)

    def file(self, name: str) -> Path:
        return Path(self.host.files) / self.rows[name]["sha256"]

    def part(self, name: str) -> Path:
        return Path(self.root) / "artifacts/.incoming" / f"{self.rows[name]['sha256']}.part"

    def says(self, **status: Any) -> None:
        Path(self.host.status_file).write_text(json.dumps(status))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_host_offers_what_it_has_and_asks_for_the_rest(lab: Lab) -> None:
    lacking = lab.join()
    assert lacking == sorted(lab.rows[name]["sha256"] for name in "bc")
    order = json.loads((Path(lab.host.place) / "order.json").read_text())
    assert order["wanted"] == lacking
    assert order["have"] == [lab.rows["a"]["sha256"]]
    assert order["seed"] is False
    assert lab.file("a").is_symlink()
    assert lab.file("a").read_bytes() == lab.data["a"]


def test_on_a_fresh_host_the_peers_user_may_enter_the_root_and_not_what_arrived(lab: Lab, tmp_path: Path) -> None:
    host = swarm.Host(str(tmp_path / "fresh"), lab.unit)
    host.prepare([])
    modes = {
        folder: oct((tmp_path / "fresh" / folder).stat().st_mode)[-3:]
        for folder in ("", "artifacts", "artifacts/.incoming", "artifacts/.swarm")
    }
    assert modes == {"": "755", "artifacts": "755", "artifacts/.incoming": "700", "artifacts/.swarm": "755"}


def test_a_peer_that_systemd_starts_again_and_again_has_ended_and_its_journal_says_why(lab: Lab) -> None:
    lab.join()
    lab.active, lab.restarts, lab.journal = "activating", "2", "cannot open engine.py"
    assert lab.host.wait(0)["active"] is True
    lab.restarts = "3"
    state = lab.host.wait(0)
    assert (state["active"], state["error"]) == (False, "cannot open engine.py")
    lab.says(have=1, wanted=2)
    assert lab.host.wait(0)["active"] is True


def test_what_an_interrupted_delivery_brought_is_used(lab: Lab) -> None:
    lab.join()
    assert lab.file("b").read_bytes() == lab.data["b"][:400]
    assert not lab.part("b").exists()


def test_the_unit_has_a_user_of_its_own_one_writable_folder_and_its_peers_only(lab: Lab) -> None:
    lab.join()
    lines = Path(lab.unit.path).read_text().splitlines()
    assert lines[0] == systemd_unit.MARKER
    assert "DynamicUser=yes" in lines
    assert [line for line in lines if line.startswith("ReadWritePaths=")] == [f"ReadWritePaths={lab.host.own}"]
    assert "ProtectSystem=strict" in lines
    assert "IPAddressDeny=any" in lines
    assert "IPAddressAllow=10.0.0.2 2001:db8::3" in lines
    assert any(line.startswith("RuntimeMaxSec=") for line in lines)
    assert ["systemctl", "restart", layout.SWARM_UNIT] in lab.calls
    assert not any("enable" in call for call in lab.calls)


def test_the_program_on_the_host_is_the_engine(lab: Lab) -> None:
    lab.join()
    assert (Path(lab.host.place) / "engine.py").read_bytes() == Path(swarm_engine.__file__).read_bytes()
    assert (Path(lab.host.place) / "engine/libtorrent/__init__.py").exists()


def test_an_engine_with_other_bytes_is_refused(lab: Lab) -> None:
    lab.host.prepare([lab.engine_row])
    lab.arrive("engine", lab.engine + b"x")
    with pytest.raises(swarm.SwarmError, match="arrived with sha256"):
        lab.host.join(lab.engine_row, "", list(lab.rows.values()), [["10.0.0.2", 6891]], 6891)
    assert not os.path.exists(lab.unit.path)


def test_a_unit_of_somebody_else_is_left_alone(lab: Lab) -> None:
    Path(lab.unit.path).write_text("[Service]\n")
    with pytest.raises(swarm.SwarmError, match="did not write it"):
        lab.join()
    lab.host.leave()
    assert Path(lab.unit.path).exists()


def test_complete_files_and_the_beginning_of_others_go_to_the_usual_verification(lab: Lab) -> None:
    lab.join()
    lab.file("b").write_bytes(lab.data["b"])
    lab.file("c").write_bytes(lab.data["c"][:300] + bytes(700))
    names = {name: lab.rows[name]["sha256"] for name in "bc"}
    lab.says(complete=[names["b"]], prefix={names["c"]: 300})
    left = lab.host.leave()
    assert left == {"files": 1, "bytes": 1300, "partial": 1}
    assert lab.part("b").read_bytes() == lab.data["b"]
    assert lab.part("c").read_bytes() == lab.data["c"][:300]
    assert not os.path.exists(lab.host.place)
    assert not os.path.exists(lab.unit.path)
    kept, wrong = received.commit(lab.root, [lab.rows["b"]])
    assert (kept, wrong) == ([names["b"]], {})
    assert lab.file("a").name not in wrong


def test_a_peer_that_lies_about_a_file_is_found_out_by_its_hash(lab: Lab) -> None:
    lab.join()
    lab.file("c").write_bytes(b"x" * 1000)
    lab.says(complete=[lab.rows["c"]["sha256"]])
    lab.host.leave()
    kept, wrong = received.commit(lab.root, [lab.rows["c"]])
    assert kept == []
    assert list(wrong) == [lab.rows["c"]["sha256"]]


def test_links_and_other_names_of_files_are_never_taken(lab: Lab, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    lab.join()
    lab.file("b").unlink()
    lab.file("b").symlink_to(secret)
    os.link(secret, lab.file("c"))
    os.mkfifo(Path(lab.host.files) / ("f" * 64))
    lab.says(complete=[lab.rows["b"]["sha256"], lab.rows["c"]["sha256"], "f" * 64, "../../x"])
    assert lab.host.leave() == {"files": 0, "bytes": 0, "partial": 0}
    assert secret.read_text() == "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert not lab.part("b").exists()


def test_a_folder_that_became_a_link_is_not_followed(lab: Lab, tmp_path: Path) -> None:
    lab.join()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / lab.rows["c"]["sha256"]).write_bytes(b"mine")
    os.rename(lab.host.own, lab.host.own + "-old")
    os.symlink(elsewhere, lab.host.own)
    lab.host.leave()
    assert (elsewhere / lab.rows["c"]["sha256"]).read_bytes() == b"mine"
    assert not os.path.exists(lab.host.place)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"finished": "yes", "have": -1, "wanted": 1e99}'])
def test_a_status_that_makes_no_sense_is_no_status(lab: Lab, text: str) -> None:
    lab.join()
    Path(lab.host.status_file).write_text(text)
    found = lab.host.wait(0)
    assert (found["finished"], found["have"], found["wanted"]) == (False, 0, 0)


def test_waiting_ends_when_everything_is_there_or_the_peer_is_gone(lab: Lab) -> None:
    lab.join()
    lab.says(finished=True, have=2000, wanted=2000)
    assert lab.host.wait(60)["finished"]
    lab.says(finished=False, error="the port is taken")
    lab.active = "failed"
    found = lab.host.wait(60)
    assert (found["active"], found["error"]) == (False, "the port is taken")


def test_a_peer_that_systemd_starts_again_and_again_still_tells_its_error(lab: Lab) -> None:
    lab.join()
    lab.says(finished=False, error="the port is taken")
    lab.active = "activating"
    assert lab.host.wait(0)["error"] == "the port is taken"
    lab.join()
    assert lab.host.wait(0)["error"] == ""


def test_the_next_play_continues_with_what_an_interrupted_one_left(lab: Lab) -> None:
    lab.join()
    lab.file("c").write_bytes(lab.data["c"][:500])
    (Path(lab.host.files) / ("e" * 64)).write_bytes(b"nobody wants this any more")
    lab.join()
    assert lab.file("c").read_bytes() == lab.data["c"][:500]
    assert not (Path(lab.host.files) / ("e" * 64)).exists()
    assert ["systemctl", "stop", layout.SWARM_UNIT] in lab.calls


def test_leaving_twice_does_nothing(lab: Lab) -> None:
    lab.join()
    lab.host.leave()
    assert not swarm.left_over(lab.root)
    assert lab.host.leave() == {"files": 0, "bytes": 0, "partial": 0}


def test_what_a_swarm_left_is_known_as_ours() -> None:
    assert layout.NAMES["artifacts"].match(os.path.basename(layout.Paths("/opt/voicefleet").swarm))


def test_own_gives_plain_files_away_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def chown(path: str, _uid: int, _gid: int, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        given.append(os.path.basename(path))

    monkeypatch.setattr(swarm_engine.os, "chown", chown)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "plain").write_text("x")
    (tmp_path / "artifact").write_text("x")
    os.link(tmp_path / "artifact", folder / "linked")
    (folder / "link").symlink_to(tmp_path / "artifact")
    assert swarm_engine.main(["own", str(folder), str(tmp_path)]) == 0
    assert sorted(given) == ["own", "plain"]


def test_an_engine_without_libtorrent_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(swarm_engine.EngineError, match="cannot be loaded"):
        swarm_engine.load("")
