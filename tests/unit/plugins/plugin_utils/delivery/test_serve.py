# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporary server: hosts share it, it ends after the last one, and it serves no other files."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import serve

DATA = bytes(range(256)) * 1000
FILES = {"wheels/a+cpu.whl": len(DATA), "empty": 0, "lost": 5}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(serve.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / "store"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "a+cpu.whl").write_bytes(DATA)
    (folder / "empty").write_bytes(b"")
    (folder / "secret").write_bytes(b"not in the manifest")
    return folder


def get(port: int, path: str, span: str = "") -> tuple[int, bytes, str]:
    """Status, body and Content-Range of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers={"Range": span} if span else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return response.status, response.read(), response.headers.get("Content-Range", "")
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, b"", ""


def is_served(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for_its_end(port: int) -> None:
    for _each in range(100):
        if not is_served(port):
            return
        time.sleep(0.1)
    pytest.fail("The server still runs.")


@contextlib.contextmanager
def served(store: Path, port: int = 0) -> Iterator[int]:
    with serve.shared_server(store, FILES, "127.0.0.1", port) as found:
        yield found


def test_the_server_serves_files_of_the_manifest_and_ranges_of_them(store: Path) -> None:
    with served(store) as port:
        assert get(port, "wheels/a%2Bcpu.whl") == (200, DATA, "")
        assert get(port, "wheels/a%2Bcpu.whl", "bytes=1000-") == (206, DATA[1000:], f"bytes 1000-255999/{len(DATA)}")
        assert get(port, "wheels/a%2Bcpu.whl", "bytes=5-9") == (206, DATA[5:10], f"bytes 5-9/{len(DATA)}")
        assert get(port, "wheels/a%2Bcpu.whl", f"bytes={len(DATA)}-")[0] == 416
        assert get(port, "empty")[:2] == (200, b"")


@pytest.mark.parametrize("path", ["", "secret", "lost", "../secret", "wheels/../secret", "/etc/passwd", "wheels"])
def test_the_server_serves_nothing_else(store: Path, path: str) -> None:
    with served(store) as port:
        assert get(port, path)[0] == 404


def test_all_hosts_share_one_server_that_ends_after_the_last(store: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import serve\n"
        f"with serve.shared_server(Path({str(store)!r}), {FILES!r}, '127.0.0.1', 0) as port:\n"
        "    print(port, flush=True); sys.stdin.read()\n"
    )
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(store.parent)}
    with served(store) as port:
        other = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert other.stdout is not None
        assert int(other.stdout.readline()) == port
    time.sleep(serve.LINGER + 1)
    assert is_served(port)
    # However the last one goes.
    other.kill()
    other.communicate()
    wait_for_its_end(port)
    with served(store) as again:
        assert get(again, "empty")[0] == 200


def test_a_killed_server_is_replaced(store: Path) -> None:
    with served(store) as port:
        state = next((store.parent / f"voicefleet-serve-{os.getuid()}").glob("*.json"))
        number = int(state.read_text().split('"pid": ')[1].split(",")[0])
        os.kill(number, 9)
        wait_for_its_end(port)
        with served(store) as again:
            assert get(again, "empty")[0] == 200


def test_a_port_in_use_is_reported(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(serve.ServeError, match=f"127.0.0.1 port {port}: .*in use"), served(store, port):
            pass


def test_a_folder_that_others_can_write_is_refused(store: Path) -> None:
    folder = store.parent / f"voicefleet-serve-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(serve.ServeError, match="not this user's own folder"), served(store):
        pass
