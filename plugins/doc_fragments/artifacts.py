# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The options O(root) and O(artifacts), and apart from them O(transport)."""

    DOCUMENTATION = r"""
options:
  root:
    description: The folder on the host that holds C(artifacts/), C(tools/) and C(releases/).
    type: path
    default: /opt/voicefleet
  artifacts:
    description: Artifacts as the manifest lists them. The module takes those of the kinds that it works on.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The path in the store.
        type: str
        required: true
      sha256:
        description: The digest in hex.
        type: str
        required: true
      size:
        description: The size in bytes.
        type: int
        required: true
      kind:
        description: What it is, for instance V(wheel) or V(kokoro-voice).
        type: str
        required: true
      name:
        description: The name of the package, model or voice.
        type: str
        required: true
      version:
        description: Its version.
        type: str
        required: true
      source:
        description: Whether it is the published file, converted from a copy in another format, or made up for tests.
        type: str
        choices: [published, converted, made-up]
        default: published
"""

    TRANSPORT = r"""
options:
  transport:
    description:
      - V(push) uses rsync if the connection is SSH, both ends have rsync, and no password is asked for. Otherwise it
        uses the bare connection.
      - V(rsync) and V(connection) use only that way.
      - V(http) lets the host fetch from a server. See the option C(http) of M(voicefleet.kokoro.artifacts).
      - With V(swarm), hosts pass the files on to each other by M(voicefleet.kokoro.artifacts_swarm). Then
        M(voicefleet.kokoro.artifacts) verifies them and pushes the rest.
      - V(auto) is V(swarm) where that is faster, and otherwise V(push).
    type: str
    choices: [push, rsync, connection, http, swarm, auto]
    default: push
"""
