# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action takes what the module of its name documents, and reads nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy.files import CLIENTS
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base, spec
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report.page import AUDIO_MB
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import signature
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.catalogue import PYTHON_BUILDS, UNIDIC

PLUGINS = "ansible_collections.voicefleet.kokoro.plugins"
# The host's module reads the arguments of this one.
PASSED_ON = {"synthesis_check"}
NAMES = sorted(path.stem for path in (Path(base.__file__).parents[2] / "action").glob("*.py"))
# These have a module that runs on the host.
ON_HOSTS = ["artifacts", "artifacts_swarm", "deploy_lock"]


def action(name: str) -> type[base.ControllerAction]:
    found: type[base.ControllerAction] = importlib.import_module(f"{PLUGINS}.action.{name}").ActionModule
    return found


def derived(name: str) -> dict[str, Any]:
    """The action's spec, read anew, because Ansible's validator fills in the defaults of the spec that it gets."""
    return spec.of_module(name, action(name).SETS)


def options_read(name: str) -> set[str]:
    """The names that the action's code asks ``arguments`` for."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(action(name))))  # type: ignore[arg-type]
    return {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "arguments"
        and isinstance(node.slice, ast.Constant)
    }


def set_by_the_action(options: dict[str, Any]) -> set[str]:
    found = set()
    for name, option in options.items():
        if str(option["description"]).endswith("Set by the action."):
            found.add(name)
        found |= set_by_the_action(option.get("suboptions", {}))
    return found


@pytest.mark.parametrize("name", sorted(set(NAMES) - PASSED_ON))
def test_an_action_takes_the_documented_options(name: str) -> None:
    documented = spec.documented(name)
    sets = set_by_the_action(documented)
    assert sets == action(name).SETS
    assert set(action(name).SPEC) == set(documented) - sets
    read = options_read(name)
    assert read or not set(documented) - sets
    assert read <= set(action(name).SPEC)


@pytest.mark.parametrize("name", sorted(set(NAMES) - PASSED_ON))
def test_every_default_is_valid_for_its_option(name: str) -> None:
    given = {option: found["default"] for option, found in derived(name).items() if found.get("default") is not None}
    asked = {option: {**found, "required": False} for option, found in derived(name).items()}
    assert ArgumentSpecValidator(asked).validate(given).error_messages == []


def without(found: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """A module's spec as the action takes it."""
    kept = {}
    for name, option in found.items():
        if name not in names:
            kept[name] = {key: value for key, value in option.items() if (key, value) != ("no_log", False)}
            if "options" in option:
                kept[name]["options"] = without(option["options"], names)
    return kept


@pytest.mark.parametrize("name", ON_HOSTS)
def test_an_action_and_its_module_on_the_host_take_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")

    class Seen(Exception):
        pass

    def look(**given: Any) -> None:
        raise Seen(given["argument_spec"])

    monkeypatch.setattr(module, "AnsibleModule", look)
    with pytest.raises(Seen) as seen:
        module.main()
    assert without(seen.value.args[0], action(name).SETS) == derived(name)


def test_a_password_is_hidden() -> None:
    http = action("artifacts").SPEC["http"]["options"]
    assert http["password"]["no_log"] is True
    assert action("store_fetch").SPEC["proxy"]["options"]["password"]["no_log"] is True
    assert action("proxy").SPEC["password"]["no_log"] is True
    assert "no_log" not in http["user"]


def test_the_documentation_has_the_values_of_the_code() -> None:
    assert action("preflight").SPEC["patches"]["choices"] == list(patches.OPTIONAL)
    assert action("proxy").SPEC["clients"]["choices"] == action("proxy").SPEC["clients"]["default"] == list(CLIENTS)
    assert action("store_verify").SPEC["signature_policy"]["choices"] == list(signature.POLICIES)
    assert action("store_fetch").SPEC["python_source"]["default"] == PYTHON_BUILDS
    assert action("store_fetch").SPEC["dictionary_source"]["default"] == UNIDIC.source
    assert action("synthesis_report").SPEC["audio_mb"]["default"] == AUDIO_MB


def test_an_unknown_and_a_missing_option_are_refused() -> None:
    validator = ArgumentSpecValidator(derived("artifacts"))
    assert "missing required arguments: artifacts, store" in validator.validate({}).error_messages
    told = validator.validate({"store": "/s", "artifacts": [], "step": "commit"}).error_messages
    assert told
    assert told[0].startswith("step. Supported")


@pytest.mark.parametrize("file", sorted(Path(base.__file__).parents[2].glob("*/*.py")), ids=lambda file: file.name)
def test_ansible_reads_the_documentation_without_a_warning(file: Path) -> None:
    """Its reader takes every assignment outside a class for one to a name."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    assert [ast.unparse(target) for target in targets if not isinstance(target, ast.Name)] == []
