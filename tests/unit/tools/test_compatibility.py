# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection states about its environment is what the tests use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]


def versions_of_the_table() -> list[dict[str, str]]:
    command = [str(ROOT / "bin/compatibility"), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_tested_versions_of_ansible_core_are_those_that_the_collection_accepts() -> None:
    accepted = SpecifierSet(load("meta/runtime.yml")["requires_ansible"])
    versions = [Version(row["ansible"]) for row in versions_of_the_table()]
    minors = sorted({version.minor for version in versions})
    assert all(version.base_version in accepted for version in versions)
    assert minors == list(range(minors[0], minors[-1] + 1))
    for outside in (f"2.{minors[0] - 1}.99", f"2.{minors[-1] + 1}.0"):
        assert outside not in accepted
    assert {row["python"] for row in versions_of_the_table()} == {"3.11", "3.12", "3.13"}


def test_the_execution_environment_names_files_that_exist() -> None:
    dependencies = load("meta/execution-environment.yml")["dependencies"]
    lines = (ROOT / dependencies["python"]).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    assert "rsync" in (ROOT / dependencies["system"]).read_text(encoding="utf-8").splitlines()


def test_the_execution_environment_fits_the_schema_of_ansible_builder() -> None:
    schema = pytest.importorskip("ansible_builder.ee_schema")
    schema.validate_schema(load("meta/execution-environment.yml"))


def test_ansible_builder_finds_what_the_execution_environment_needs(tmp_path: Path) -> None:
    builder = Path(sys.executable).with_name("ansible-builder")
    if not builder.exists():
        pytest.skip("ansible-builder is not here")
    place = tmp_path / "ansible_collections/voicefleet"
    place.mkdir(parents=True)
    (place / "kokoro").symlink_to(ROOT)
    done = subprocess.run([str(builder), "introspect", str(tmp_path)], capture_output=True, text=True, check=True)
    found = yaml.safe_load(done.stdout)
    assert found["python"] == []
    assert {line.split()[0] for line in found["system"]} == {"openssh-client", "openssh-clients", "rsync"}


def calls(path: Path) -> list[tuple[str, set[str]]]:
    """The commands of this repository that a workflow calls, each with its options."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    lines = [line for job in jobs.values() for step in job["steps"] for line in step.get("run", "").splitlines()]
    found = [(re.search(r"\bbin/[\w-]+", line), line) for line in lines]
    return [(name.group(), set(re.findall(r"--[a-z]+", line))) for name, line in found if name]


@pytest.mark.parametrize("name", ["release", "test"])
def test_the_workflows_call_commands_of_this_repository(name: str) -> None:
    called = calls(ROOT / f".github/workflows/{name}.yml")
    assert called
    for command, options in called:
        labels = re.findall(r"^ *(--[a-z]+)(?: \| \S+)?\)", (ROOT / command).read_text(encoding="utf-8"), re.MULTILINE)
        also = re.findall(r"^ *(--[a-z]+) \| \[0-9\]", (ROOT / command).read_text(encoding="utf-8"), re.MULTILINE)
        assert options - {*labels, *also} == set(), command


def test_a_script_that_another_one_calls_joins_its_table(tmp_path: Path) -> None:
    lib = f'. "{ROOT}/bin/lib.sh"'
    inner = tmp_path / "inner"
    inner.write_text(
        f"#!/bin/bash\n{lib}\ntry_step good true\ntry_step bad false\nskip_step other 'no Python'\nsummary\n"
    )
    inner.chmod(0o755)
    outer = f"{lib}\ntry_step own true\nsteps_of {inner}\nsteps_of /bin/false\nsummary"
    done = subprocess.run(["bash", "-c", outer], capture_output=True, text=True, check=False)
    table = re.findall(r"^(\w+) +(?:[0-9.]+|-)  (.*)$", done.stdout, re.MULTILINE)
    assert table == [
        ("own", "passed"), ("good", "passed"), ("bad", "FAILED"), ("other", "not run: no Python"), ("false", "FAILED"),
    ]  # fmt: skip
    assert done.stdout.endswith("\n2 passed, 2 failed, 1 not run\n")
    assert done.returncode == 1
