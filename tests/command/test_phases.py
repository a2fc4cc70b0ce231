# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags choose how far a deploy goes, and never leave out what a later phase needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import phases
from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook, local_inventory

ALL = list(phases.PHASES)


@pytest.mark.parametrize(
    ("run", "skip", "expected"),
    [
        (["all"], [], ALL),
        ([], [], ALL),
        (["all"], ["proxy"], ALL),
        (["all"], ["a tag of another playbook"], ALL),
        (["all"], ["releases"], ALL[:-1]),
        (["all"], ["serve", "releases"], ALL[:-2]),
        (["preflight"], [], ALL[:1]),
        (["artifacts"], [], ALL[:2]),
        (["artifacts", "proxy"], [], ALL[:2]),
        (["artifacts", "python_env", "spacy_models", "kokoro"], [], ALL[:5]),
        (["speech"], [], ALL),
    ],
)
def test_tags_may_choose_how_far_a_deploy_goes(run: list[str], skip: list[str], expected: list[str]) -> None:
    """The task's own tag `speech` came with an import of the playbook."""
    assert phases.chosen(run, skip, ["always", "speech"]) == expected


@pytest.mark.parametrize(
    ("run", "skip", "words"),
    [
        (["python_env"], [], "leave out artifacts, but"),
        (["kokoro"], [], "leave out artifacts, python_env, spacy_models, but"),
        (["all"], ["serve"], "leave out serve"),
        (["all"], ["artifacts"], "leave out artifacts"),
        (["all"], ["preflight"], "do not skip it"),
        (["serve"], [], "cannot choose serve"),
        ([*ALL], [], "cannot choose releases, serve"),
        (["artefacts"], [], "there is no phase artefacts"),
    ],
)
def test_tags_that_leave_out_a_needed_phase_are_refused(run: list[str], skip: list[str], words: str) -> None:
    with pytest.raises(phases.PhaseError, match=words):
        phases.chosen(run, skip, ["always"])


def deploy(folder: Path, *arguments: str, playbook: str = "deploy.yml") -> str:
    inventory = str(local_inventory(folder, "speech-01"))
    done = ansible_playbook(folder, str(PLAYBOOKS / playbook), "-i", inventory, *arguments)
    return done.stdout + done.stderr


def test_the_deploy_has_a_tag_for_each_phase(tmp_path: Path) -> None:
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"TASK TAGS: \[(.*)\]", deploy(tmp_path, "--list-tags")))))
    assert listed == {*ALL, phases.PROXY, "always"}


def test_a_run_with_a_tag_has_only_its_phase_and_the_frame(tmp_path: Path) -> None:
    listed = deploy(tmp_path, "--list-tasks", "--tags", "artifacts")
    names = [line.split("\t")[0].strip() for line in listed.splitlines() if "TAGS: " in line]
    done = [name for name in names if not name.startswith("play #")]
    roles = {name.split(" : ")[0].rpartition(".")[2] for name in done if " : " in name}
    # The role settings checks the variables. The last one writes the report.
    assert roles == {"settings", "artifact_store", "preflight", "artifacts", "synthesis"}
    assert {"Begin the batch", "Note the success", "Count the host as failed or unreachable"} <= set(done)


@pytest.mark.parametrize("playbook", ["deploy.yml", "plan.yml", "repair.yml", "rollback.yml", "verify.yml"])
def test_variables_are_validated_by_the_role_settings_alone(tmp_path: Path, playbook: str) -> None:
    listed = deploy(tmp_path, "--list-tasks", playbook=playbook)
    assert "settings : Check the variables" in listed
    assert "Validating arguments" not in listed


@pytest.mark.parametrize("playbook", ["verify.yml", "rollback.yml"])
def test_the_other_playbooks_refuse_tags(tmp_path: Path, playbook: str) -> None:
    said = deploy(tmp_path, "--tags", "artifacts", "-e", "ansible_become=false", playbook=playbook)
    assert "This playbook has no phases: run it without --tags and --skip-tags." in said
    assert "Note the success" not in said
