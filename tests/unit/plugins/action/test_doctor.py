# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's actions: a host that cannot be reached is a finding, and every failure is explained."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.voicefleet.kokoro.plugins.action import doctor, doctor_report
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction

ROOT = Path(__file__).parents[4]
ARGUMENTS = {
    "root": "/opt/voicefleet",
    "home": "/var/lib/voicefleet",
    "secrets_dir": "/etc/voicefleet",
    "unit": "voicefleet-xinference.service",
    "host": "127.0.0.1",
    "port": 9997,
    "own_port": 9997,
    "model": "kokoro",
    "minimum_memory_mb": 3500,
    "speak": True,
    "timeout": 60,
    "bundle": "",
    "store": None,
    "peer": {},
}


def make(kind: type[ControllerAction], check_mode: bool = False) -> Any:
    task = SimpleNamespace(args={}, check_mode=check_mode, async_val=0, delegate_to=None, action="x")
    return kind(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())


def examine(answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Run the action; ``answers`` has what each module returns or raises."""
    action = make(doctor.ActionModule)
    asked: list[tuple[Any, Any]] = []

    def execute(module_name: str, module_args: Any, task_vars: Any) -> Any:
        assert module_name == "voicefleet.kokoro.service_state"
        [subset] = module_args["subsets"]
        assert "peer" not in module_args
        asked.append((module_args.get("peer_host"), module_args.get("peer_port")))
        answer = answers[subset]
        if isinstance(answer, Exception):
            raise answer
        return answer if "failed" in answer else {"state": {subset: answer}, "errors": {}}

    action._execute_module = execute
    result: dict[str, Any] = action.act({**ARGUMENTS, **more}, {"inventory_hostname": "speech-01"})
    return {**result, "asked": asked}


def test_a_host_that_cannot_be_reached_is_a_finding() -> None:
    result = examine({"health": AnsibleConnectionFailure("Failed to connect: no route to host")})
    assert (result["status"], result["changed"]) == (2, False)
    [row] = result["ansible_facts"]["voicefleet_doctor"]["findings"]
    assert row["code"] == "UNREACHABLE"
    assert "no route to host" in row["cause"]


def test_a_host_without_a_python_is_a_finding_with_its_own_words() -> None:
    answer = {"failed": True, "msg": "The module interpreter was not found.", "module_stderr": "x\nno python3 here\n"}
    [row] = examine({"health": answer})["ansible_facts"]["voicefleet_doctor"]["findings"]
    assert row["cause"] == "nothing could be read: The module interpreter was not found: no python3 here."


def test_advisories_of_a_damaged_store_are_a_finding_and_a_missing_store_is_none(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"errors": {}}
    for store in ("", str(tmp_path / "nowhere"), str(tmp_path)):
        assert examine({"health": facts}, store=store)["status"] == 0
    (tmp_path / "manifest.json").write_text("{")
    result = examine({"health": facts}, store=str(tmp_path))
    [row] = result["ansible_facts"]["voicefleet_doctor"]["findings"]
    assert (result["status"], row["level"], row["code"]) == (1, "WARN", "ADVISORIES")
    assert "manifest.json is not JSON" in row["cause"]


def test_only_a_service_that_listens_for_others_is_tried() -> None:
    facts: dict[str, Any] = {"errors": {}}
    peer = {"name": "speech-02", "reach": "10.0.0.2", "port": 9997, "networks": []}
    assert examine({"health": facts}, peer={**peer, "open": True})["asked"] == [("10.0.0.2", 9997)]
    assert examine({"health": facts}, peer={**peer, "open": False})["asked"] == [(None, None)]
    assert examine({"health": facts})["asked"] == [(None, None)]


def test_what_was_read_is_judged() -> None:
    facts = {"errors": {}, "files": [{"path": "/etc/voicefleet/secrets.json", "wrong": "mode 0644"}]}
    result = examine({"health": facts})
    assert [(row["level"], row["code"]) for row in result["ansible_facts"]["voicefleet_doctor"]["findings"]] == [
        ("FAIL", "FILES")
    ]


def test_a_bundle_of_a_host_that_answers_and_of_one_that_does_not(tmp_path: Path) -> None:
    archive = str(tmp_path / "support.tar.gz")
    facts = {"errors": {}, "files": []}
    examine({"health": facts, "support": {"journal.txt": "all is well"}}, bundle=archive)
    hosts = {"speech-01": [{"level": "OK", "code": "FILES", "cause": "fine.", "remedy": ""}]}
    result = report(hosts, bundle=archive, json_file=str(tmp_path / "r" / "doctor.json"))
    assert result["lines"][-1].startswith(f"Support bundle: {archive}, ")
    with tarfile.open(archive) as tar:
        assert "support/speech-01/journal.txt" in tar.getnames()
    assert json.loads((tmp_path / "r" / "doctor.json").read_text())["status"] == 0


def report(hosts: dict[str, Any], check_mode: bool = False, **more: Any) -> dict[str, Any]:
    variables = {name: {"voicefleet_doctor": {"findings": rows}} for name, rows in hosts.items() if rows is not None}
    arguments = {
        "hosts": list(hosts),
        "json_file": "",
        "html_file": "",
        "text_file": "",
        "bundle": "",
        "show_ok": True,
        **more,
    }
    result: dict[str, Any] = make(doctor_report.ActionModule, check_mode).act(arguments, {"hostvars": variables})
    return result


def test_a_host_that_was_not_examined_is_a_failure() -> None:
    result = report({"speech-01": None})
    assert result["status"] == 2
    assert "UNREACHABLE" in result["lines"][0]


def test_a_failing_action_explains_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(ControllerAction):
        __module__ = "plugins.action.deploy_lock"  # whose documentation it takes for its own

        def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            raise AnsibleActionFail("Not to be had: HTTP 407 Proxy Authentication Required", result={"findings": [1]})

    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    with pytest.raises(AnsibleActionFail) as caught:
        make(Failing).run()
    assert str(caught.value).startswith(
        "Not to be had: HTTP 407 Proxy Authentication Required\nWhat this means:\n  PX01: "
    )
    assert caught.value.result["findings"] == [1]


def command(folder: Path, status: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    """voicefleet-doctor, with a stand-in for ansible-playbook that writes a report of this status (none for None)."""
    folder.mkdir(exist_ok=True)
    written = "" if status is None else (
        'for word in "$@"; do case $word in *doctor_json_file*) '
        'json=$(printf %s "$word" | sed \'s/.*"doctor_json_file": "\\([^"]*\\)".*/\\1/\');; esac; done\n'
        f"printf '{{\\n  \"counts\": {{}},\\n  \"status\": {status},\\n  \"time\": \"now\"\\n}}\\n' >\"$json\"\n"
        'echo "a line" >"${json%json}txt"\n'
    )  # fmt: skip
    stand_in = folder / "ansible-playbook"
    stand_in.write_text(f"#!/bin/bash\necho said; printf '%s\\n' \"$@\" >{folder}/arguments\n{written}exit 2\n")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [str(ROOT / "playbooks" / "voicefleet-doctor"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_command_exits_with_the_status_of_the_report(tmp_path: Path, status: int) -> None:
    done = command(tmp_path / "bin", status, "-i", "hosts with blanks.yml")
    assert (done.returncode, done.stdout, done.stderr) == (status, "a line\n", "")
    assert "hosts with blanks.yml" in (tmp_path / "bin" / "arguments").read_text().splitlines()


def test_the_command_prints_json_and_nothing_else(tmp_path: Path) -> None:
    done = command(tmp_path / "bin", 1, "--json")
    assert json.loads(done.stdout)["status"] == 1


def test_the_command_prints_ansibles_output_if_there_is_no_report(tmp_path: Path) -> None:
    done = command(tmp_path / "bin", None)
    assert (done.returncode, done.stdout) == (2, "")
    assert "said\ndoctor: no host was examined" in done.stderr


def test_the_command_passes_its_options_to_the_playbook(tmp_path: Path) -> None:
    command(tmp_path / "bin", 0, "--quiet", "--html", str(tmp_path / "d.html"), "--bundle", str(tmp_path / "b.tar.gz"))
    given = (tmp_path / "bin" / "arguments").read_text()
    files = f'"doctor_html_file": "{tmp_path}/d.html", "doctor_bundle": "{tmp_path}/b.tar.gz"'
    assert f'{{"doctor_show_ok": false, {files}}}' in given
