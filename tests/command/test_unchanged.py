# SPDX-License-Identifier: GPL-3.0-or-later
"""One task replaces a deploy's other tasks if nothing differs. It reads their arguments, as Ansible itself would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.action import unchanged
from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook, local_inventory

PLAY = """
- hosts: voicefleet
  gather_facts: false
  vars:
    xinference_user: vf-nobody
    xinference_secrets_dir: {folder}
    xinference_jwt_secret: jwt-of-this-test-1234567890123456
    voicefleet_plan: {plan}
    preflight_result: {{cores: 3}}
  tasks:
    - import_role:
        name: voicefleet.kokoro.xinference
        tasks_from: unchanged
    - debug:
        var: voicefleet_unchanged
    - import_role:
        name: voicefleet.kokoro.synthesis
      when: false
"""
PLAN: dict[str, Any] = {
    "release": {"id": "1.2.3-abc", "path": "/nowhere/1.2.3-abc", "complete": True},
    "manifest_sha256": "5b1c",
    "current": "1.2.3-abc",
    "candidate": {
        "left": False,
        "wanted": False,
        "answers": False,
        "stays": False,
        "gap": "",
        "unit": "u",
        "home": "/h",
        "secrets_dir": "/s",
    },
    "paths": {"root": "/nowhere"},
    "former": None,
    "model": {"name": "Kokoro-82M"},
    "languages": ["a"],
    "language_models": {},
    "hearing_model": "",
    "accelerator": "cpu",
    "cards": [],
    "lock": {"pid": 1},
}


OURS = PLAYBOOKS.parent
# Returns what it was given, and whether the unit is that of a supervisor behind its packet filter.
ECHO = """
import json
from ansible.module_utils.basic import AnsibleModule
parts = ("account", "setup", "secrets", "service", "model", "proof", "release", "lock")
module = AnsibleModule({name: {"type": "dict", "required": True} for name in parts}, supports_check_mode=True)
unit = module.params["service"]["content"]
restarts = "bin/xinference-supervisor -H 10.0.0.10" in unit and "Requires=voicefleet-filter.service" in unit
module.exit_json(
    changed=False, unchanged=module.check_mode, released=False, why=json.dumps(module.params), restarts=restarts
)
"""


def tree(folder: Path, room: str, files: dict[str, str]) -> Path:
    """A copy of this collection in which some files of a folder of plugins have other texts."""
    copy = folder / "tree" / "ansible_collections" / "voicefleet" / "kokoro"
    (copy / "plugins" / room).mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "roles"):
        (copy / name).symlink_to(OURS / name)
    shutil.copytree(PLAYBOOKS, copy / "playbooks", ignore=shutil.ignore_patterns("collections"))
    for kind in (OURS / "plugins").iterdir():
        if kind.name != room:
            (copy / "plugins" / kind.name).symlink_to(kind)
    for path in (OURS / "plugins" / room).glob("*.py"):
        if path.name not in files:
            (copy / "plugins" / room / path.name).symlink_to(path)
    for name, text in files.items():
        (copy / "plugins" / room / name).write_text(text, encoding="utf-8")
    return copy


CLUSTER = """
  vars:
    xinference_topology: cluster
    xinference_supervisor: s
    xinference_workers: [w]
    xinference_address: "{{ {'s': '10.0.0.10', 'w': '10.0.0.11'}[inventory_hostname] }}"
"""


def run(folder: Path, *arguments: str, hosts: tuple[str, ...] = ("speech-01",), variables: str = "") -> str:
    (folder / "play.yml").write_text(PLAY.format(folder=folder, plan=json.dumps(PLAN)), encoding="utf-8")
    tree(folder, "modules", {"unchanged.py": ECHO})
    inventory = local_inventory(folder, *hosts)
    inventory.write_text(inventory.read_text() + variables)
    done = ansible_playbook(
        folder, "play.yml", "-i", str(inventory), *arguments, ANSIBLE_COLLECTIONS_PATH=str(folder / "tree")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_arguments_of_all_tasks_are_read(tmp_path: Path) -> None:
    said = run(tmp_path)
    shown = said[said.index("{", said.index("ok: [speech-01] => ")) :]
    result = json.JSONDecoder().raw_decode(shown)[0]
    given = json.loads(result["voicefleet_unchanged"]["why"])
    assert given["account"]["name"] == "vf-nobody"
    assert given["account"]["shell"] == "/usr/sbin/nologin"
    assert given["secrets"]["jwt_secret"] == "jwt-of-this-test-1234567890123456"
    assert not set(given["secrets"]) & set(given["setup"])
    unit = given["service"]["content"]
    assert "ExecStart=/nowhere/1.2.3-abc/env/bin/xinference-local" in unit
    assert f"EnvironmentFile={tmp_path}/xinference.env" in unit
    assert "OMP_NUM_THREADS=3" in unit
    assert given["service"]["environment_files"] == [
        f"{tmp_path}/xinference.env",
        "/nowhere/1.2.3-abc/release.json",
    ]
    assert given["setup"]["models"] == [given["model"]["launch"]]
    assert given["proof"]["release_file"] == "/nowhere/1.2.3-abc/release.json"
    # The task omits them.
    assert not {"ca_file", "release_id", "python", "unpublished", "textfile_dir"} & set(given["proof"])
    assert given["release"]["id"] == "1.2.3-abc"
    assert given["release"]["cores"] == 3
    assert given["lock"] == {"pid": 1}


def test_check_mode_takes_the_usual_way(tmp_path: Path) -> None:
    assert '"unchanged"' not in run(tmp_path, "--check")


def test_a_supervisor_learns_only_whether_it_would_restart(tmp_path: Path) -> None:
    said = " ".join(run(tmp_path, hosts=("s", "w"), variables=CLUSTER).split())
    shown = said[said.index("{", said.index("ok: [s] => ")) :]
    result = json.JSONDecoder().raw_decode(shown)[0]["voicefleet_unchanged"]
    assert (result["unchanged"], result["restarts"], result["released"]) == (False, True, False)
    assert "skipping: [w]" in said


def test_the_account_is_compared_by_all_that_its_task_sets() -> None:
    """Also with create_home, the home itself is another task's."""
    tasks = yaml.safe_load((unchanged.ROLES / "xinference" / "tasks" / "main.yml").read_text(encoding="utf-8"))
    (options,) = (task["ansible.builtin.user"] for task in tasks if "ansible.builtin.user" in task)
    assert set(options) == {"name", "comment", "home", "shell", "system", "create_home"}


# --- a whole deploy, with stand-ins for what works on hosts -----------------------------------------------------------

STAND_IN = """
import json, os
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        name = self._task.action.rpartition(".")[2]
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(name + "\\n")
        with open(os.environ["ANSWERS"]) as answers:
            return {"changed": False, **json.load(answers).get(name, {})}
"""
# These work on the controller alone.
REAL = ("check_variables", "rollout", "show")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """This collection, with a stand-in for each action or module that works on a host or reads the store."""
    names = {path.stem for path in (OURS / "plugins" / "modules").glob("*.py")}
    return tree(tmp_path, "action", {f"{name}.py": STAND_IN for name in names - {*REAL}})


def calls(folder: Path, collection: Path, answer: dict[str, Any]) -> list[str]:
    """Run deploy.yml with this answer of `unchanged`. Returns what was called after it."""
    answers = {"preflight": {"plan": PLAN, "cores": 3}, "unchanged": {"unchanged": False, "released": False, **answer}}
    answers["release"] = {"failure": "as the test wants it"}
    (folder / "answers.json").write_text(json.dumps(answers))
    # Without a Python on the host, the builtin module user fails, and nothing is created.
    inventory = local_inventory(folder, "speech-01")
    inventory.write_text(inventory.read_text().replace("interpreter: ", "interpreter: /nowhere"))
    files = {"CALLS": folder / "calls", "ANSWERS": folder / "answers.json", "ANSIBLE_COLLECTIONS_PATH": folder / "tree"}
    deploy = (str(collection / "playbooks" / "deploy.yml"), "-i", str(inventory), "-e", "ansible_become=false")
    done = ansible_playbook(folder, *deploy, **{name: str(path) for name, path in files.items()})
    called = (folder / "calls").read_text().split()
    assert called[: called.index("unchanged")] == ["store_verify", "preflight"], done.stdout + done.stderr
    return called[called.index("unchanged") + 1 :]


def test_if_nothing_differs_the_deploy_is_done(tmp_path: Path, collection: Path) -> None:
    answer = {"unchanged": True, "released": True, "synthesis": {"level": "acoustic"}}
    assert calls(tmp_path, collection, answer) == ["synthesis_report"]


def test_a_lock_that_was_not_released_is_released(tmp_path: Path, collection: Path) -> None:
    answer = {"unchanged": True, "synthesis": {"level": "acoustic"}}
    assert calls(tmp_path, collection, answer) == ["deploy_lock", "synthesis_report"]


def test_if_anything_differs_the_deploy_goes_its_usual_way(tmp_path: Path, collection: Path) -> None:
    # The first task after it fails here. The failure is written into the ledger, and the lock is released.
    answer = {"why": "the unit was changed by hand"}
    assert calls(tmp_path, collection, answer) == ["release", "deploy_lock", "synthesis_report"]
