# SPDX-License-Identifier: GPL-3.0-or-later
"""A place is found if it is unambiguous, and reached with the owner's rights."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.repair import place

VENV = "/srv/venv/bin/python"


@pytest.mark.parametrize(
    ("words", "python"),
    [
        (["/srv/venv/bin/python", "/srv/venv/bin/xinference-local", "-H", "0.0.0.0"], VENV),
        (["/srv/venv/bin/python3", "/srv/venv/bin/xinference", "launch"], "/srv/venv/bin/python3"),
        (["/srv/venv/bin/xinference-local"], VENV),
        (["/usr/bin/python3", "/usr/local/bin/xinference-worker"], "/usr/bin/python3"),
        (["/srv/venv/bin/python", "./bin/xinference-local"], VENV),
        (
            ["/opt/conda/envs/speech/bin/python3.11", "/opt/conda/envs/speech/bin/xinference-local"],
            "/opt/conda/envs/speech/bin/python3.11",
        ),
        (["/opt/conda/bin/python", "/opt/conda/bin/conda", "run", "-n", "speech", "xinference-local"], ""),
        (["/usr/bin/python3", "/usr/bin/wrapper", "/srv/venv/bin/xinference-local"], VENV),
        (["/usr/bin/tini", "--", "/srv/venv/bin/xinference-local"], VENV),
        (["python", "bin/xinference-local"], ""),
        (["/srv/venv/bin/python", "-I", "-u", "-c", "from xinference.deploy.cmdline import local; local()"], VENV),
        (["/srv/venv/bin/python", "-m", "xinference.deploy.cmdline"], VENV),
        (["/usr/bin/tail", "-f", "/var/log/xinference.log"], ""),
        (["/usr/bin/vim", "xinference"], ""),
        (["grep", "xinference"], ""),
        ([], ""),
    ],
)
def test_a_command_line_names_its_python(words: list[str], python: str) -> None:
    assert place.started(words) == python


def process(
    proc: Path, pid: int, words: list[str], namespace: str = "mnt:[1]", home: str = "/h", unit: str = ""
) -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns" / "mnt").symlink_to(namespace)
    (folder / "cmdline").write_text("\0".join([*words, ""]))
    (folder / "environ").write_text(f"XINFERENCE_HOME={home}\0PATH=/bin\0")
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n" if unit else "0::/user.slice/session-1.scope\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self" / "ns").mkdir(parents=True)
    (folder / "self" / "ns" / "mnt").symlink_to("mnt:[1]")
    return folder


class Engine:
    """Answers as docker, podman and systemctl do."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_options: Any) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        text = self.answers.get(f"{command[0]}_{command[1]}")
        if text is None:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, text.encode(), b"")


def container(name: str = "speech", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "Name": f"/{name}", "Path": "xinference-local", "Args": [], "State": {"Running": True, "Pid": 7},
        "Config": {"Env": ["XINFERENCE_HOME=/data"], "User": "", "Image": "speech"},
        "HostConfig": {"AutoRemove": False, "ReadonlyRootfs": False},
    }  # fmt: skip
    return {**row, **changes}


def test_the_only_process_is_found_with_user_home_and_unit(proc: Path) -> None:
    process(proc, 10, ["/srv/venv/bin/python", "/srv/venv/bin/xinference-local"], unit="speech.service")
    process(proc, 11, ["/srv/venv/bin/python", "/srv/venv/bin/xinference-local"])
    process(proc, 12, ["/x/bin/python", "/x/bin/xinference-local"], namespace="mnt:[2]")
    found = place.find("", "", "", str(proc), Engine())
    assert (found.python, found.home, found.unit) == (VENV, "/h", "speech.service")
    assert found.user == [os.getuid(), os.getgid()]


def test_a_unit_that_does_not_run_is_found(proc: Path) -> None:
    text = (
        "Id=a.service\nExecStart={ path=/usr/bin/a ; argv[]=/usr/bin/a ; }\n\n"
        "Id=speech.service\nUser=x\nEnvironment=A=1 XINFERENCE_HOME=/data\n"
        "ExecStart={ path=/srv/venv/bin/xinference-local ; argv[]=/srv/venv/bin/xinference-local -p 1 ; ignore=no }\n"
    )
    found = place.find("", "", "", str(proc), Engine(systemctl_show=text))
    assert (found.python, found.unit, found.home) == (VENV, "speech.service", "/data")


def test_a_unit_that_ended_names_its_user_and_its_variables(proc: Path, tmp_path: Path) -> None:
    """The usual state of one who asks for help: nothing runs, and the models belong to the service's user."""
    script = tmp_path / "xinference-local"
    script.write_text("#!/usr/bin/python3\n")
    text = (
        "Id=speech.service\nUser=speech\n"
        'Environment=A=1 "XINFERENCE_HOME=/srv/my models" XINFERENCE_MODEL_SRC=modelscope\n'
        f"ExecStart={{ path={script} ; argv[]={script} -p 1 ; ignore=no }}\n"
    )
    found = place.find("", "", "", str(proc), Engine(systemctl_show=text))
    assert (found.python, found.user, found.home) == ("/usr/bin/python3", "speech", "/srv/my models")
    assert found.environment == {"XINFERENCE_HOME": "/srv/my models", "XINFERENCE_MODEL_SRC": "modelscope"}


def test_all_units_of_an_environment_are_named(proc: Path) -> None:
    row = "Id={}.service\nExecStart={{ path=x ; argv[]=/srv/venv/bin/xinference-{} -p 1 ; ignore=no }}\n"
    text = "\n".join([row.format("one", "supervisor"), row.format("two", "worker")])
    process(proc, 10, ["/srv/venv/bin/python", "/srv/venv/bin/xinference-worker"], unit="two.service")
    found = place.find("", "", "", str(proc), Engine(systemctl_show=text))
    assert found.details["units"] == ["one.service", "two.service"]


@pytest.mark.parametrize(
    ("states", "restarted"),
    [
        # A unit that failed, or that systemd starts again and again, is what a repair is for.
        ({"old": "inactive", "one": "active", "two": "failed"}, ["one", "two"]),
        ({"one": "activating", "two": "inactive"}, ["one"]),
        ({"one": "inactive", "two": "inactive"}, ["one", "two"]),
        ({"one": "inactive"}, ["one"]),
    ],
)
def test_a_restart_leaves_out_a_unit_that_somebody_stopped(
    proc: Path, states: dict[str, str], restarted: list[str]
) -> None:
    row = (
        "Id={}.service\nActiveState={}\n"
        "ExecStart={{ path=x ; argv[]=/srv/venv/bin/xinference-worker -p 1 ; ignore=no }}\n"
    )
    text = "\n".join(row.format(name, state) for name, state in states.items())
    found = place.find("", "", "", str(proc), Engine(systemctl_show=text))
    assert found.details["units"] == [f"{name}.service" for name in restarted]


def test_a_restart_includes_the_unit_of_the_process_whatever_its_command_is(proc: Path) -> None:
    text = "Id=a.service\nExecStart={ path=x ; argv[]=/srv/venv/bin/xinference-worker ; ignore=no }\n"
    process(proc, 10, ["/srv/venv/bin/python", "/srv/venv/bin/xinference-local"], unit="wrapped.service")
    found = place.find("", "", "", str(proc), Engine(systemctl_show=text))
    assert found.details["units"] == ["a.service", "wrapped.service"]


def test_several_places_are_listed_and_none_is_chosen(proc: Path) -> None:
    process(proc, 10, ["/srv/venv/bin/python", "/srv/venv/bin/xinference-local"])
    engine = Engine(docker_ps="1\n", docker_inspect=json.dumps([container()]))
    with pytest.raises(place.PlaceError) as refused:
        place.find("", "", "", str(proc), engine)
    assert "2 places with Xinference" in str(refused.value)
    assert "repair_prefix=/srv/venv" in str(refused.value)
    assert "repair_container=speech repair_engine=docker" in str(refused.value)


def test_a_host_without_xinference_is_told_what_to_set(proc: Path) -> None:
    with pytest.raises(place.PlaceError, match="Name the place in repair_prefix or repair_container"):
        place.find("", "", "", str(proc), Engine(docker_ps=""))


def test_a_named_container_is_found_in_either_engine() -> None:
    found = place.find("", "speech", "", "/nowhere", Engine(podman_inspect=json.dumps([container()])))
    assert (found.engine, found.container, found.home) == ("podman", "speech", "/data")


def test_podman_as_the_command_docker_gives_each_container_once(proc: Path) -> None:
    rows = json.dumps([container(Id="0123abcd")])
    shim = Engine(docker_ps="1\n", docker_inspect=rows, podman_ps="1\n", podman_inspect=rows)
    assert place.find("", "speech", "", str(proc), shim).engine == "podman"
    assert place.find("", "", "", str(proc), shim).engine == "podman"


def test_podmans_own_description_of_a_container_is_read() -> None:
    row = container(
        Name="speech", Path="/bin/sh", ImageName="localhost/speech:1", Id="0123abcd",
        Config={"Env": ["PATH=/bin", "HOME=/home/speech"], "User": "1000:1000", "Image": "localhost/speech:1",
                "Entrypoint": "/opt/venv/bin/xinference-local", "Cmd": None},
        State={"Running": True, "Pid": 70, "Status": "running"},
        HostConfig={"AutoRemove": True, "ReadonlyRootfs": True},
    )  # fmt: skip
    engine = Engine(podman_ps="0123abcd\n", podman_inspect=json.dumps([row]))
    (found,) = place.containers("podman", engine)
    assert (found.container, found.user, found.home) == ("speech", "1000:1000", "/home/speech/.xinference")
    assert found.details["removed_at_end"] is found.details["read_only"] is True


def test_podman_runs_the_work_in_a_container(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    engine = Engine(podman_exec='{"kept": "1"}\n')
    place.Container("podman", "speech", "/opt/conda/bin/python", engine).run(
        {"do": "apply"}, {"a": str(tmp_path / "a")}
    )
    start = ["podman", "exec", "-i", "-u", "0", "speech", "/opt/conda/bin/python", "-I", "-c"]
    assert [command[:9] for command in engine.commands] == [start, start]
    assert engine.commands[0][-2:] == ["put", "a"]


def test_a_container_that_both_engines_have_is_ambiguous() -> None:
    both = json.dumps([container()])
    with pytest.raises(place.PlaceError, match="set repair_engine"):
        place.find("", "speech", "", "/nowhere", Engine(podman_inspect=both, docker_inspect=both))


@pytest.mark.parametrize(
    ("rows", "why"),
    [([], "know no container"), ([container(State={"Running": False})], "is not running")],
    ids=["missing", "stopped"],
)
def test_a_container_that_cannot_be_entered_is_named(rows: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(place.PlaceError, match=why):
        place.find("", "speech", "docker", "/nowhere", Engine(docker_inspect=json.dumps(rows)))


def test_the_home_of_an_unprivileged_container_is_its_users() -> None:
    row = container(Config={"Env": ["HOME=/home/app"], "User": "app"})
    found = place.find("", "speech", "docker", "/nowhere", Engine(docker_inspect=json.dumps([row])))
    assert (found.user, found.home) == ("app", "/home/app/.xinference")


def test_files_enter_a_container_one_by_one_and_then_the_work_begins(tmp_path: Path) -> None:
    engine = Engine(docker_exec='noise\n{"changed": ["x"]}\n')
    file = tmp_path / "file"
    file.write_text("voice")
    answer = place.Container("docker", "speech", "python3", engine).run({"do": "apply"}, {"a" * 64: str(file)})
    assert answer == {"changed": ["x"]}
    first, second = engine.commands
    assert first[:7] == ["docker", "exec", "-i", "-u", "0", "speech", "python3"]
    assert first[-2:] == ["put", "a" * 64]
    assert second[-1] == place.program()


def test_an_error_inside_is_the_error_here() -> None:
    with pytest.raises(place.PlaceError, match="it is full"):
        place.Container("docker", "speech", "python3", Engine(docker_exec='{"error": "it is full"}')).run({})


def test_output_that_is_no_answer_is_shown() -> None:
    with pytest.raises(place.PlaceError, match="cannot run the repair.*what is this"):
        place.Container("docker", "speech", "python3", Engine(docker_exec="what is this")).run({})


def test_a_named_prefix_of_a_container_may_have_only_python3() -> None:
    def engine(command: list[str], **_options: Any) -> subprocess.CompletedProcess[bytes]:
        there = command[6] == "/usr/bin/python3"
        return subprocess.CompletedProcess(command, 0 if there else 127, b"{}\n" if there else b"", b"no such file")

    found = place.Found(container="speech", engine="docker", python="/usr/bin/python")
    reached = place.reach(found, "/nowhere", engine)
    assert reached.python == "/usr/bin/python3"


def test_a_container_without_xinference_names_the_first_answer() -> None:
    engine = Engine(docker_exec='{"error": "python3 has no Xinference. Nothing was changed"}')
    with pytest.raises(place.PlaceError, match="Name its prefix in repair_prefix.*has no Xinference"):
        place.reach(place.Found(container="speech", engine="docker"), "/nowhere", engine)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_never_runs_a_python_of_another_user(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    for path in (tmp_path / "venv", python.parent, python):
        os.chown(path, 1234, 1235)
    seen: dict[str, Any] = {}

    def runner(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        seen.update(options)
        return subprocess.CompletedProcess(command, 0, b"{}", b"")

    place.Native(str(python), runner).run({"do": "inspect"})
    assert (seen["user"], seen["group"], seen["extra_groups"]) == (1234, 1235, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_runs_no_code_that_another_user_may_change(tmp_path: Path) -> None:
    """Python runs .pth files of the packages, whoever wrote them."""
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("")
    for folder in (tmp_path, tmp_path / "bin", packages):
        folder.chmod(0o755)
    assert place.owner(str(python)) == (0, 0)
    os.chown(packages, 1234, 1235)
    assert place.owner(str(python)) == (1234, 1235)
    os.chown(packages, 0, 0)
    packages.chmod(0o777)
    with pytest.raises(place.PlaceError, match="everybody may change .*site-packages"):
        place.owner(str(python))


def test_a_missing_python_is_named() -> None:
    with pytest.raises(place.PlaceError, match="/no/bin/python does not exist"):
        place.Native("/no/bin/python").run({})


def test_the_program_fits_one_argument() -> None:
    """Linux takes 128 KiB. It must stand alone, and run with the oldest Python."""
    assert len(place.program().encode()) < 100_000
    assert "from ." not in place.program()
    assert "ansible" not in place.program()
