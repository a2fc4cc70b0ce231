# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that was baked: it loads, speaks without a network, says when it cannot, and ends in order."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

WORK = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "work"
NAME = "vf-image-run"
THIN = "vf-image-thin"
RUN = "/opt/voicefleet/container/run"
KEY = "xf-a-key-for-the-tests-of-an-image"
LOAD_SECONDS = 900
STOP_SECONDS = 100


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check)


def record(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((WORK / folder / "image.json").read_text())
    return found


def inspect(what: str, field: str) -> Any:
    return json.loads(docker("inspect", "--format", f"{{{{json {field}}}}}", what).stdout)


@pytest.fixture(scope="session")
def loaded() -> dict[str, Any]:
    """The image after it was removed and loaded from its archive."""
    made = record("first")
    docker("rmi", "--force", made["image"], check=False)
    docker("load", "--input", str(WORK / "first" / made["archive"]))
    return made


@pytest.fixture(scope="session")
def running(loaded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container without network, with a read-only root and an unprivileged user, once its models are ready."""
    key = tmp_path_factory.mktemp("secrets") / "client.key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o444)
    key.parent.chmod(0o755)
    docker("rm", "--force", "--volumes", NAME, check=False)
    docker(
        "run", "--detach", "--name", NAME, "--network", "none", "--read-only", "--user", "10001:10001",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--stop-timeout", str(STOP_SECONDS),
        "--tmpfs", "/var/lib/voicefleet:exec,mode=1777", "--health-interval", "5s", "--health-retries", "1",
        "--mount", f"type=bind,source={key},target=/run/secrets/voicefleet_client_key,readonly", loaded["image"],
    )  # fmt: skip
    end = time.monotonic() + LOAD_SECONDS
    while docker("exec", NAME, RUN, "ready", check=False).returncode:
        if time.monotonic() > end or not inspect(NAME, ".State.Running"):
            logs = docker("logs", "--tail", "60", NAME, check=False)
            pytest.fail(f"The container did not become ready.\n{logs.stdout}{logs.stderr}")
        time.sleep(2)
    yield NAME
    docker("rm", "--force", "--volumes", NAME, check=False)


def health(name: str, wanted: str, seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while (found := inspect(name, ".State.Health.Status")) != wanted:
        if time.monotonic() > end:
            pytest.fail(f"The container is {found} instead of {wanted}: {inspect(name, '.State.Health')}")
        time.sleep(1)


def test_two_bakes_give_the_same_bytes() -> None:
    first, second = record("first"), record("second")
    assert first == second
    for folder, made in (("first", first), ("second", second)):
        with open(WORK / folder / made["archive"], "rb") as handle:
            assert hashlib.file_digest(handle, "sha256").hexdigest() == made["archive_sha256"]
    for name in ("compose.yaml", "voicefleet.container", "kubernetes.yaml", "sbom.cdx.json"):
        assert (WORK / "first" / name).read_bytes() == (WORK / "second" / name).read_bytes()


def test_the_digest_beside_the_archive_is_right() -> None:
    subprocess.run(["sha256sum", "--check", f"{record('first')['archive']}.sha256"], cwd=WORK / "first", check=True)


def test_the_archive_loads_with_its_id(loaded: dict[str, Any]) -> None:
    assert inspect(loaded["image"], ".Id") == loaded["id"]


def test_the_image_is_hardly_larger_than_base_and_release(loaded: dict[str, Any]) -> None:
    release = docker(
        "run", "--rm", "--network", "none", "--entrypoint", "du", loaded["image"], "--summarize", "--bytes",
        "--apparent-size", f"/opt/voicefleet/releases/{loaded['release']}",
    ).stdout.split()[0]  # fmt: skip
    assert loaded["size"] <= 1.05 * (loaded["base_size"] + int(release))


def test_labels_name_release_and_manifest(loaded: dict[str, Any]) -> None:
    labels = inspect(loaded["image"], ".Config.Labels")
    assert labels["voicefleet.release"] == loaded["release"]
    assert labels["voicefleet.manifest.sha256"] == loaded["manifest_sha256"]
    assert labels["voicefleet.unpublished"] == "converted"


def test_the_image_holds_no_secret_and_no_compiler(loaded: dict[str, Any]) -> None:
    assert KEY not in json.dumps(json.loads(docker("inspect", loaded["image"]).stdout))
    command = "command -v gcc cc make ld || true; find /opt/voicefleet ! -user root -o -perm /022 ! -type l | head -3"
    found = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", loaded["image"], "-c", command)
    assert found.stdout == ""


def test_a_container_without_a_key_says_what_it_needs(loaded: dict[str, Any]) -> None:
    done = docker("run", "--rm", "--network", "none", "--read-only", loaded["image"], check=False)
    assert done.returncode == 1
    assert "Mount a file at /run/secrets/voicefleet_client_key" in done.stderr


def test_it_is_heard_without_a_network(running: str) -> None:
    done = docker("exec", running, RUN, "prove", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "af_heart: intelligible" in done.stdout
    assert docker("exec", running, "ls", "/sys/class/net").stdout.split() == ["lo"]
    assert docker("exec", running, "id", "-u").stdout.strip() == "10001"
    assert docker("exec", running, "touch", "/opt/x", check=False).returncode != 0


def test_no_key_is_in_the_log_or_in_a_processs_arguments(running: str) -> None:
    logs = docker("logs", running)
    assert KEY not in logs.stdout + logs.stderr
    script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert KEY not in docker("exec", running, "sh", "-c", script).stdout


def test_health_follows_the_model(running: str) -> None:
    health(running, "healthy")
    # The process that holds the weights has the most memory.
    script = (
        "for p in /proc/[0-9]*; do echo $(awk '/^VmRSS/ {print $2}' $p/status 2>/dev/null || echo 0) ${p#/proc/}; done"
    )
    rows = [line.split() for line in docker("exec", running, "sh", "-c", script).stdout.splitlines()]
    model = max((int(row[0]), row[1]) for row in rows if len(row) == 2)[1]
    docker("exec", running, "sh", "-c", f"kill -9 {model}")
    health(running, "unhealthy")
    # Xinference starts the model again by itself.
    health(running, "healthy", LOAD_SECONDS)


def test_sigterm_ends_it_in_order(running: str) -> None:
    begin = time.monotonic()
    docker("stop", "--time", str(STOP_SECONDS), running)
    assert time.monotonic() - begin < STOP_SECONDS
    assert inspect(running, ".State.ExitCode") == 0
    assert docker("logs", running).stderr.rstrip().endswith("voicefleet: stopped")


def posted(path: str, key: str, body: dict[str, Any], target: str = "-") -> str:
    """Post to the service in the thin image's container, from inside."""
    return docker(
        "exec", THIN, "curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "600", "--output", target,
        *(["--header", f"Authorization: Bearer {key}"] if key else []), "--header", "Content-Type: application/json",
        "--data", json.dumps(body), f"http://127.0.0.1:9997{path}",
    ).stdout  # fmt: skip


@pytest.fixture(scope="session")
def thin() -> Iterator[dict[str, Any]]:
    """A container of the thin image, loaded from its archive, without network, once Xinference answers."""
    made = record("thin")
    docker("rm", "--force", "--volumes", THIN, check=False)
    docker("rmi", "--force", made["image"], check=False)
    docker("load", "--input", str(WORK / "thin" / made["archive"]))
    # The base's own command listens on all addresses, and a container without network has only this one.
    program = ["/srv/xinference/bin/xinference-local", "--host", "127.0.0.1", "--port", "9997"]
    docker("run", "--detach", "--name", THIN, "--network", "none", made["image"], *program)
    end = time.monotonic() + LOAD_SECONDS
    asked = ["exec", THIN, "curl", "--silent", "--fail", "http://127.0.0.1:9997/status"]
    while not json.loads(docker(*asked, check=False).stdout or "{}").get("workers"):
        if time.monotonic() > end or not inspect(THIN, ".State.Running"):
            logs = docker("logs", "--tail", "60", THIN, check=False)
            pytest.fail(f"Xinference of the thin image does not answer.\n{logs.stdout}{logs.stderr}")
        time.sleep(2)
    yield made
    docker("rm", "--force", "--volumes", THIN, check=False)


def test_a_thin_layer_keeps_its_base(thin: dict[str, Any]) -> None:
    base, made = "voicefleet-host:debian12-container", thin["image"]
    assert inspect(made, ".Id") == thin["id"]
    for field in (".Config.Cmd", ".Config.Entrypoint", ".Config.User", ".Config.Env"):
        assert inspect(made, field) == inspect(base, field)
    assert inspect(made, ".RootFS.Layers")[:-1] == inspect(base, ".RootFS.Layers")
    assert inspect(made, ".Config.Labels")["voicefleet.repaired"] == thin["release"]
    assert docker("exec", THIN, "find", "/srv/xinference/voicefleet-repair", check=False).returncode != 0


def test_a_thin_layer_makes_an_image_with_xinference_speak_without_a_network(
    thin: dict[str, Any], tmp_path: Path
) -> None:
    answer = posted("/token", "", {"username": "admin", "password": "of-the-scenario"})
    payload = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro"}
    posted("/v1/models", json.loads(answer)["access_token"], payload)
    body = {"model": "kokoro", "input": "The thin image speaks.", "voice": "af_heart", "response_format": "wav"}
    posted("/v1/audio/speech", "xf-key-of-the-scenario-repair", body, "/tmp/said.wav")
    docker("cp", f"{THIN}:/tmp/said.wav", str(tmp_path))
    sound, rate = soundfile.read(tmp_path / "said.wav")
    assert 1 < len(sound) / rate < 10
    assert abs(sound).max() > 0.05


def podman(*arguments: str) -> str:
    """Run a command in a host with Podman, which sees the output of the first bake."""
    return docker(
        "run", "--rm", "--name", f"{NAME}-podman", "--network", "none", "--cap-add", "SYS_ADMIN", "--security-opt",
        "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--mount",
        f"type=bind,source={WORK / 'first'},target=/image,readonly", "--env", "QUADLET_UNIT_DIRS=/image",
        "--entrypoint", arguments[0], "voicefleet-host:debian13-podman", *arguments[1:],
    ).stdout  # fmt: skip


def test_podmans_generator_makes_a_service_of_the_quadlet() -> None:
    made = podman("/usr/libexec/podman/quadlet", "-dryrun")
    assert "---voicefleet.service---" in made
    for option in ("--read-only", "--cap-drop all", "--user 10001:10001", "--health-on-failure kill", "--pull never"):
        assert option in made


def test_podman_loads_the_archive_with_the_same_id_and_health_check() -> None:
    made = record("first")
    command = "podman --storage-driver vfs"
    script = f"{command} load --quiet --input /image/{made['archive']} >&2 && {command} image inspect {made['image']}"
    (found,) = json.loads(podman("sh", "-c", script))
    assert found["Id"] == made["id"].removeprefix("sha256:")
    assert found["Healthcheck"]["Test"] == ["CMD", RUN, "health"]
    assert found["User"] == "10001:10001"
