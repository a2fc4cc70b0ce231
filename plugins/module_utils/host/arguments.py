# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs that several modules share."""

from __future__ import annotations

from typing import Any

from . import layout
from .sources import PUBLISHED, SOURCES

# The ways in which artifacts reach a host; the first is the default.
TRANSPORTS = ("push", "rsync", "connection", "http", "swarm", "auto")


def artifact_options() -> dict[str, Any]:
    """Return the options ``root`` and ``artifacts``, a list of rows of the manifest."""
    fields = {"path": "str", "sha256": "str", "size": "int", "kind": "str", "name": "str", "version": "str"}
    options: dict[str, Any] = {name: {"type": kind, "required": True} for name, kind in fields.items()}
    options["source"] = {"type": "str", "choices": list(SOURCES), "default": PUBLISHED}
    artifacts = {"type": "list", "elements": "dict", "required": True, "options": options}
    return {"root": {"type": "path", "default": layout.ROOT}, "artifacts": artifacts}


def transport_option() -> dict[str, Any]:
    """Return the option ``transport``: how artifacts reach a host."""
    return {"transport": {"type": "str", "choices": list(TRANSPORTS), "default": TRANSPORTS[0]}}


def of_kind(artifacts: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Select the artifacts of some kinds."""
    return [artifact for artifact in artifacts if artifact["kind"] in kinds]
