# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Look at a host, choose its release, and say everything that is wrong at once
description:
  - Reads the manifest on the controller and the host's state in one module call, and sets the fact C(voicefleet_plan),
    which the later roles read.
  - Reads the settings of the role P(voicefleet.kokoro.settings#role) from the host's variables.
  - Fails with all findings, before anything was changed.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  accept_synthetic:
    description: Whether stand-ins made for tests may be deployed.
    type: bool
    default: false
  lock:
    description:
      - Whether to take the host's deploy lock, and fail where another controller holds it. It is named in
        C(voicefleet_plan.lock), and M(voicefleet.kokoro.deploy_lock) gives it back.
      - The lock of a play of this controller that has ended is taken over. A boot of the host ends every lock.
    type: bool
    default: false
  supervisor_cpus:
    description: The CPUs that the supervisor of a cluster needs. With fewer than 4 it hangs.
    type: int
    default: 4
  accelerator:
    description:
      - What the host computes on, decided before a byte moves. V(auto) is V(cuda) where there is an NVIDIA card and the
        store has a cuda profile for the host, else V(cpu). A card that can't be used then is a failure, with the driver
        that is needed or the profile that would fit; V(cpu) says that it is meant so.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
  patches:
    description:
      - Names of repairs of upstream's files that the release gets; they are part of its id.
      - Those without which a language does not start come with the language.
      - V(kokoro-eval) takes Kokoro out of training mode, in which Xinference leaves it.
      - V(start-local) and V(start-host) let Xinference's two processes import it at the same time, not in turn.
    type: list
    elements: str
    choices: [kokoro-eval, start-local, start-host]
    default: []
  any_platform:
    description: Whether a platform that is not among the supported ones is a warning, and no refusal.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Check the host
  voicefleet.kokoro.preflight:
    lock: true
"""

RETURN = r"""
findings:
  description: What was found, each with level V(FAIL) or V(WARN), code, cause and remedy.
  returned: always
  type: list
  elements: dict
  sample: []
table:
  description: What a deploy would bring, in lines for people.
  returned: success
  type: list
  elements: str
  sample: ["to bring: 143 files, 827.0 MB"]
ansible_facts:
  description: The fact C(voicefleet_plan).
  returned: success
  type: dict
  sample: {voicefleet_plan: {profile: cpu-py311-x86_64}}
"""
