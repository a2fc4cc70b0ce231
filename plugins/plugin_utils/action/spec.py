# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an action's argument spec from the documentation of the module of the same name."""

from __future__ import annotations

import ast
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_load

PLUGINS = Path(__file__).resolve().parents[2]
FRAGMENTS = "voicefleet.kokoro."
# The keys that a spec and a documented option share.
_SHARED = ("type", "elements", "required", "default", "choices", "aliases")

# The options of the module proxy that a fetch takes. The others concern the files on a host.
PROXY = (
    "http", "https", "all", "no_proxy", "username", "password", "ca_certificates", "pip_index_url", "hf_endpoint",
    "probe", "probe_url",
)  # fmt: skip


def proxy_of_a_fetch() -> dict[str, Any]:
    """The options of ``proxy`` in the actions that use the network from the controller."""
    return {name: option for name, option in of_module("proxy").items() if name in PROXY}


def of_module(name: str, without: Collection[str] = ()) -> dict[str, Any]:
    """The argument spec of the module ``name``, without some options and suboptions."""
    return _spec(documented(name), without)


def documented(name: str) -> dict[str, Any]:
    """The documented options of the module ``name``, with those of its fragments."""
    documentation: dict[str, Any] = yaml_load(_constants(PLUGINS / "modules" / f"{name}.py")["DOCUMENTATION"])
    options: dict[str, Any] = {}
    for fragment in documentation.get("extends_documentation_fragment", []):
        file, _dot, part = fragment.removeprefix(FRAGMENTS).partition(".")
        constants = _constants(PLUGINS / "doc_fragments" / f"{file}.py")
        options |= yaml_load(constants[part.upper() or "DOCUMENTATION"]).get("options", {})
    options |= documentation.get("options", {})
    return options


@cache
def _constants(path: Path) -> dict[str, str]:
    """The texts that a plugin's file or its class assigns. They are read without an import."""
    found = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in [*tree.body, *(statement for each in classes for statement in each.body)]:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update({target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)})
    return found


def _spec(options: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    return {name: _option(name, option, without) for name, option in options.items() if name not in without}


def _option(name: str, option: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    spec = {key: option[key] for key in _SHARED if key in option}
    if "password" in name:
        spec["no_log"] = True
    if "suboptions" in option:
        spec["options"] = _spec(option["suboptions"], without)
    return spec
