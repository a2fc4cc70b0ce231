# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the action plugins: it checks arguments first, and explains known failures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible.utils.display import Display
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis

from ..fleet import deploy_lock, odd, settings as shared
from . import spec, variables

# More than any message of ours has.
_MOST_TEXT = 1 << 20


def plain(text: object) -> str:
    """A message without control characters. Hosts, servers and files of others may have written parts of it."""
    return odd.printable(text, _MOST_TEXT)


class _Terminal:
    """Ansible's display, for messages of any origin."""

    ansible = Display()

    def display(self, text: str) -> None:
        self.ansible.display(plain(text))

    def warning(self, text: str) -> None:
        self.ansible.warning(plain(text))

    def v(self, text: str) -> None:
        self.ansible.v(plain(text))


display = _Terminal()


def cache_folder() -> Path:
    """The folder for downloads and remembered digests: ``VOICEFLEET_CACHE``, else below the user's cache."""
    named = os.environ.get("VOICEFLEET_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "voicefleet"


def memo_path() -> str:
    """The file of remembered digests of store files."""
    return str(cache_folder() / "digests.json")


def accepted_path() -> Path:
    """The file of the manifests that this controller accepted before."""
    return cache_folder() / "stores.json"


def fact(variables: Any, name: str) -> dict[str, Any]:
    """A fact of a host, whether or not facts are also variables there. Empty if it was not set."""
    value = variables.get(name) or (variables.get("ansible_facts") or {}).get(name) or {}
    return dict(value) if isinstance(value, Mapping) else {}


def versions() -> dict[str, str]:
    """The versions of this collection and of ansible-core."""
    root = Path(__file__).parents[3]
    try:  # only an installed collection has this file
        collection = _load(str(root / "MANIFEST.json"))["collection_info"]["version"]
    except OSError:
        collection = _load(str(root / "galaxy.yml"))["version"]
    return {"voicefleet.kokoro": str(collection), "ansible-core": ansible_version}


def verified_digest(task_vars: Mapping[str, Any]) -> str:
    """The digest of the manifest that the role artifact_store verified in this run; "" if it verified none."""
    # A registered result, which no fact cache keeps for a later run.
    return str((task_vars.get("voicefleet_verified") or {}).get("manifest_sha256", ""))


def _load(path: str) -> Any:
    return yaml_load(Path(path).read_text(encoding="utf-8"))


def diff(before: Iterable[str], after: Iterable[str]) -> dict[str, str]:
    """Two lists of lines as Ansible shows their difference."""
    return {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}


def findings(error: Exception) -> dict[str, Any]:
    """The findings of an error, as a failed task returns them."""
    return {"findings": [vars(finding) for finding in getattr(error, "findings", [])]}


def show(lines: Sequence[str]) -> None:
    """Print lines in the terminal. A task's result would fold them."""
    display.display("\n".join(["", *lines, ""]))


# Read once, when Ansible loads the first action. The workers that it forks for the hosts inherit it.
KNOWN = variables.known_variables(_load)
SETTINGS = shared.declared(_load)
DEFAULTS = shared.defaults(_load)


def refuse_misspelt(task_vars: Mapping[str, Any]) -> None:
    """Raise AnsibleActionFail if a variable looks like a misspelt one of our roles. It would have no effect."""
    mistakes = variables.misspelt(task_vars, KNOWN)
    if mistakes:
        host = task_vars.get("inventory_hostname", "localhost")
        raise AnsibleActionFail(f"{host}: nothing was changed: {'; '.join(mistakes)}")


class ControllerAction(ActionBase):
    """An action that does its work in Python on the controller.

    A subclass implements ``act`` and may raise AnsibleActionFail. If the failure is known, its message gets an
    explanation. No message has control characters. ``SPEC``, the argument spec, comes from the documentation of the
    module of the same name.
    """

    _requires_connection = False
    _supports_check_mode = True
    # Documented options that the action itself sets for its module on the host. A task cannot set them.
    SETS: frozenset[str] = frozenset()
    SPEC: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        cls.SPEC = spec.of_module(cls.__module__.rpartition(".")[2], cls.SETS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        refuse_misspelt(task_vars or {})
        _validated, arguments = self.validate_argument_spec(argument_spec=self.SPEC)
        try:
            result.update(self.act(arguments, task_vars or {}))
        except AnsibleActionFail as error:
            explained = diagnosis.explain(plain(error))
            if explained == str(error):
                raise
            raise AnsibleActionFail(explained, result=error.result) from None
        if "msg" in result:
            result["msg"] = plain(result["msg"])
        return result

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do the work and return the task's result."""
        raise NotImplementedError

    def settings(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the role settings for this host, typed and checked. Raises AnsibleActionFail."""
        given = self._templar.template({name: task_vars[name] for name in SETTINGS if name in task_vars})
        checked = ArgumentSpecValidator(SETTINGS).validate(given)
        if checked.error_messages:
            host = task_vars.get("inventory_hostname", "localhost")
            raise AnsibleActionFail(f"{host}: nothing was changed: {'; '.join(checked.error_messages)}")
        values: dict[str, Any] = checked.validated_parameters
        return values

    @property
    def check_mode(self) -> bool:
        return bool(self._task.check_mode)

    def locked(
        self, look: Callable[[dict[str, Any]], dict[str, Any]], host: str, mine: Mapping[str, Any], seconds: int
    ) -> dict[str, Any]:
        """The answer of ``look`` once the host's lock is ours. Raises AnsibleActionFail if another play holds it."""
        try:
            answer, taken_over = deploy_lock.acquire(look, host, mine, seconds)
        except deploy_lock.HeldError as error:
            raise AnsibleActionFail(str(error)) from None
        if taken_over:
            display.warning(taken_over)
        return answer

    def state(self, module: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The subsets that a module reads on the host. Raises AnsibleActionFail if one could not be read."""
        answer = self.module(module, arguments, task_vars)
        if answer["errors"]:
            raise AnsibleActionFail(str(answer["msg"]), result=answer)
        state: dict[str, Any] = answer["state"]
        return state

    def module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module on the host. Raises AnsibleActionFail with the module's own result if it failed."""
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars)
        if result.get("failed") or result.get("unreachable"):
            raise AnsibleActionFail(str(result.get("msg", "the module failed")), result=result)
        return result
