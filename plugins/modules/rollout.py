#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
short_description: Manage a run over many hosts in batches
description:
  - Plans the batches, begins a batch or says why not, and notes the outcome of each host. The playbooks use it to stop
    between two batches, and M(voicefleet.kokoro.synthesis_report) to report the outcome of every host.
  - Ansible's own C(max_fail_percentage) stops the other hosts of a batch in the middle of their work when the limit is
    exceeded. If all hosts of a batch fail, the whole run ends without a report. Here, a failure is noted and the batch
    continues to its end. Then O(step=count) makes Ansible's recap reflect the failures.
  - An unreachable host proves nothing about the release. It does not count against O(max_fail_percentage). Only if the
    whole canary is unreachable, no further batch begins.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  step:
    description:
      - V(plan) and V(begin) set the fact C(voicefleet_rollout) of C(localhost). Run them once, delegated to
        C(localhost), with C(delegate_facts).
      - V(note) sets the fact C(voicefleet_outcome) of a host. Without a failure it is V(served), or V(checked) in check
        mode.
      - V(count) fails, or reports the host as unreachable, as C(voicefleet_outcome) says.
    type: str
    choices: [plan, begin, note, count]
    required: true
  canary:
    description: For O(step=plan), the size of the canary, as a number or a percentage. V(0) means no canary.
    type: raw
    default: 0
  serial:
    description:
      - For O(step=plan), the size of every other batch, as a number or a percentage of all hosts.
      - If a host has C(xinference_topology=cluster), all hosts are in one batch, unless the inventory sets
        C(voicefleet_canary) or C(voicefleet_serial).
    type: raw
    default: 100%
  max_fail_percentage:
    description: For O(step=plan), the percentage of a batch that may fail before the run stops. In a canary, none may.
    type: raw
    default: 0
  phases:
    description: For O(step=plan), whether the playbook has phases. Without them, a run with tags is refused.
    type: bool
    default: true
  whole:
    description: For O(step=begin), whether this batch is the whole run. Then O(step=plan) is not needed.
    type: bool
    default: false
  task:
    description: For O(step=note), the name of the task that failed. Empty means success.
    type: str
    default: ""
  why:
    description: For O(step=note), the message of that task.
    type: str
    default: ""
  not_reached:
    description: For O(step=note), whether it failed because the host is unreachable.
    type: bool
    default: false
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
notes:
  - Runs on the controller only.
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

- name: Stop if too much of the previous batch failed
  ansible.builtin.meta: end_play
  when: hostvars.localhost.voicefleet_rollout.stop | length > 0
"""

RETURN = r"""
msg:
  description: The batch that begins, or why none begins.
  returned: when step is begin
  type: str
  sample: "batch 2: speech-02, speech-03"
"""
