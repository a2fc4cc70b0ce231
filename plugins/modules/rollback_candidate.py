#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_candidate
short_description: Plan whether a candidate answers the gateway's clients during a rollback
description:
  - Reads the host, and judges it as M(voicefleet.kokoro.preflight) does for a deploy. It changes nothing.
  - A rollback proves a candidate only if that can answer the gateway's clients while the service restarts.
  - Of a cluster, only the supervisor has a candidate.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  plan:
    description: The plan of the rollback, from M(voicefleet.kokoro.release).
    type: dict
    required: true
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Find out whether a candidate can answer clients meanwhile
  voicefleet.kokoro.rollback_candidate:
    plan: "{{ voicefleet_plan }}"
  register: beside
"""

RETURN = r"""
plan:
  description: The plan, with its C(candidate).
  returned: always
  type: dict
  sample: {candidate: {wanted: true, stays: true, port: 9998}}
"""
