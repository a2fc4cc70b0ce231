# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker or Podman, by a program that takes their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import engine

PROBED = "machine x86_64\nglibc glibc 2.36\npython 3.11 /usr/bin/python3.11\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_base_says_what_it_offers() -> None:
    found = engine.probed(PROBED)
    assert found == engine.Target("x86_64", (2, 36), ({"version": "3.11", "path": "/usr/bin/python3.11"},))
    assert engine.probed("machine aarch64\nglibc \n") == engine.Target("aarch64", (), ())


def test_the_first_engine_that_answers_is_taken(folder: Path) -> None:
    put(folder, "docker", "echo 'no daemon' >&2; exit 1")
    put(folder, "podman", "exit 0")
    assert engine.Engine.find("auto").name == "podman"
    with pytest.raises(engine.EngineError, match="docker does not answer: no daemon"):
        engine.Engine.find("docker")


def test_the_builder_has_no_network_and_reports(folder: Path) -> None:
    put(folder, "docker", 'echo "$*" >&2; echo layer')
    said: list[str] = []
    target = folder / "layer"
    with open(target, "wb") as handle:
        engine.Engine("docker").build("base:1", [(Path("/srv/store"), "/store")], ["/bin/x", "-I"], handle, said.append)
    assert target.read_bytes() == b"layer\n"
    (line,) = said
    assert "run --rm --pull never --network none --user 0:0" in line
    assert "--mount type=bind,source=/srv/store,target=/store,readonly --entrypoint /bin/x base:1 -I" in line


def test_a_builder_that_fails_is_explained_by_its_own_words(folder: Path) -> None:
    put(folder, "docker", 'echo "failed: the disk is full" >&2; exit 3')
    with (
        open(folder / "layer", "wb") as handle,
        pytest.raises(engine.EngineError, match="ended with status 3: failed: the disk is full"),
    ):
        engine.Engine("docker").build("base:1", [], ["/bin/x"], handle, lambda _line: None)


def test_an_engine_that_hangs_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that waits for a dead disk answers nothing, and so may a program of a strange base image."""
    monkeypatch.setattr(engine, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(engine, "WORK_SECONDS", 0.3)
    put(folder, "docker", "exec sleep 60")
    with pytest.raises(engine.EngineError, match=r"docker info did not end within 0\.3 s"):
        engine.Engine.find("docker")
    docker = engine.Engine("docker")
    for asked in (docker.has, docker.probe, docker.identity):
        with pytest.raises(engine.EngineError, match="did not end within"):
            asked("base:1")
    with pytest.raises(engine.EngineError, match="docker run did not end within"):
        docker.ask("base:1", [], ["/bin/x"], b"{}")
    with open(folder / "layer", "wb") as handle, pytest.raises(engine.EngineError, match="the builder did not end"):
        docker.build("base:1", [], ["/bin/x"], handle, lambda _line: None)


def test_an_image_is_never_pulled(folder: Path) -> None:
    put(folder, "docker", 'test "$1" = image || exit 9; exit 1')
    assert not engine.Engine("docker").has("base:1")


def test_a_path_with_a_comma_is_mounted(folder: Path) -> None:
    put(folder, "docker", 'for word; do echo "$word"; done')
    said = engine.Engine("docker").ask("base:1", [(Path("/srv/a,b"), "/store")], ["/bin/x"], b"").decode().splitlines()
    assert 'type=bind,"source=/srv/a,b",target=/store,readonly' in said


def test_podman_saves_in_the_form_of_docker_and_names_an_image_by_its_bare_id(folder: Path) -> None:
    rows = '[{"Id": "0123abcd", "RootFS": {"Layers": ["sha256:a"]}, "Config": {"User": "speech"}}]'
    put(folder, "podman", f"""echo "$*" >>{folder}/asked; test "$1" = image && echo '{rows}'; exit 0""")
    podman = engine.Engine("podman")
    assert podman.identity("speech:1") == "0123abcd sha256:a"
    assert podman.user("speech:1") == "speech"
    podman.save("speech:1", folder / "base.tar")
    podman.load(folder / "speech.tar")
    asked = (folder / "asked").read_text().splitlines()
    assert asked[-2:] == [
        f"save --format docker-archive --output {folder}/base.tar speech:1", f"load --input {folder}/speech.tar",
    ]  # fmt: skip
