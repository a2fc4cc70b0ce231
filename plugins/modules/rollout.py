#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
short_description: Keep count of a run over many hosts in batches
description:
  - Plans the batches, begins one or says why not, and notes what came of each host. The playbooks of this collection
    stop by it between two batches, and M(voicefleet.kokoro.synthesis_report) says by it what became of every host.
  - With Ansible's own C(max_fail_percentage) the other hosts of a batch are left in the middle of their work as soon as
    the limit is passed, and with a batch of which nothing is left the whole run ends without a report. Here a failure
    is caught and noted, the batch goes on to its end, and O(step=count) makes Ansible's count true at last.
  - A host that can't be reached says nothing about the release. It does not count against
    O(max_fail_percentage); only where it was all of the canary, no further batch begins.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  step:
    description:
      - V(plan) and V(begin) set the fact C(voicefleet_rollout), which belongs to C(localhost); run them once, delegated
        there, with C(delegate_facts).
      - V(note) sets the fact C(voicefleet_outcome) of a host.
      - V(count) fails, or reports the host as unreachable, as C(voicefleet_outcome) says.
    type: str
    choices: [plan, begin, note, count]
    required: true
  canary:
    description: For O(step=plan), hosts of the first batch, as a number or a percentage; V(0) means no canary.
    type: raw
    default: 0
  serial:
    description:
      - For O(step=plan), hosts of every further batch, as a number or a percentage of all hosts.
      - Where a host has C(xinference_topology=cluster), all go in one batch, unless C(voicefleet_canary) or
        C(voicefleet_serial) is set in the inventory.
    type: raw
    default: 100%
  max_fail_percentage:
    description: For O(step=plan), how many percent of a batch may fail before no further one begins. Of a canary, none.
    type: raw
    default: 0
  whole:
    description: For O(step=begin), that this batch is the whole run, which needs no O(step=plan) then.
    type: bool
    default: false
  task:
    description: For O(step=note), the name of the task that failed. Empty means that all went well.
    type: str
    default: ""
  why:
    description: For O(step=note), what it said.
    type: str
    default: ""
  not_reached:
    description: For O(step=note), that it failed as the host can't be reached.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: It changes nothing. A host that went well is V(checked) and not V(served).
  diff_mode:
    support: none
    description: It changes nothing.
notes:
  - Runs on the controller alone.
seealso:
  - module: voicefleet.kokoro.synthesis_report
"""

EXAMPLES = r"""
- name: Begin the batch
  voicefleet.kokoro.rollout:
    step: begin
  run_once: true
  delegate_to: localhost
  delegate_facts: true

- name: Stop where the batch before did not do well enough
  ansible.builtin.meta: end_play
  when: hostvars.localhost.voicefleet_rollout.stop | length > 0
"""

RETURN = r"""
msg:
  description: Which batch begins, or why none does.
  returned: when step is begin
  type: str
  sample: "batch 2: speech-02, speech-03"
"""
