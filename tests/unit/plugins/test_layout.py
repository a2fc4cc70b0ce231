# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths and names on a host are declared in module_utils/host/layout.py and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
LAYOUT = PLUGINS / "module_utils" / "host" / "layout.py"
# Documentation must be plain YAML, so it repeats the default. Another test compares both.
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN", "SERVICE", "API"}
OURS = re.compile(
    r"/(etc|opt|run|var/lib)/voicefleet|voicefleet-[\w-]*\.service|^/etc/systemd/system/?$"
    r"|^((started|loaded|release)\.json|receipts\.jsonl)$|^packet-filter\.\w+$"
)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each string in a program that is a path or name on a host. Not sentences and documentation."""
    tree = ast.parse(source)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skipped.add(node.value)
        if isinstance(node, ast.Assign) and DOCUMENTATION & {getattr(target, "id", "") for target in node.targets}:
            skipped.add(node.value)
    for node in ast.walk(tree):
        if node in skipped or not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if OURS.search(node.value) and not re.search(r"\s", node.value):
            yield node.lineno, node.value


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('X = "/etc/voicefleet/client.key"', 1),
        ('X = f"/run/voicefleet-{name}"', 1),
        ('X = {"default": "voicefleet-xinference.service"}', 1),
        ('X = os.path.join(folder, "started.json")', 1),
        ('"""The folder /opt/voicefleet."""', 0),
        ('DOCUMENTATION = """default: /opt/voicefleet"""', 0),
        ('raise Fault("Delete /etc/voicefleet/client.key and run again.")', 0),
        ('X = "voicefleet-client"', 0),
    ],
)
def test_paths_are_distinguished_from_sentences(source: str, found: int) -> None:
    assert len(list(literals(source))) == found


def test_no_place_on_a_host_is_declared_outside_the_layout() -> None:
    strays = [
        f"{path.relative_to(PLUGINS)}:{line}: {text}"
        for path in sorted(PLUGINS.rglob("*.py"))
        if path != LAYOUT
        for line, text in literals(path.read_text())
    ]
    assert strays == []
    assert list(literals(LAYOUT.read_text()))
