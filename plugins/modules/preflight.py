# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check a host, choose its release, and report every problem at once
description:
  - Reads the manifest on the controller and the host's state in one module call. Returns the plan of the release. The
    role P(voicefleet.kokoro.preflight#role) sets it as C(voicefleet_plan), which the later roles read.
  - Reads the settings of the role P(voicefleet.kokoro.settings#role) from the host's variables.
  - Fails with all findings before anything is changed.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  accept_unpublished:
    description: Whether files that are converted or made up may be deployed, for quickstart and tests.
    type: bool
    default: false
  lock:
    description:
      - Whether to take the host's deploy lock, and fail if another play holds it. C(voicefleet_plan.lock) names the
        owner, and M(voicefleet.kokoro.deploy_lock) releases the lock. Check mode takes no lock.
      - If the holder was a play of this controller that has ended, the lock is taken over. A reboot of the host ends
        every lock.
    type: bool
    default: false
  supervisor_cpus:
    description: The CPUs that the supervisor of a cluster needs. With fewer than 4 it hangs.
    type: int
    default: 4
  accelerator:
    description:
      - What the host computes on. V(auto) is V(cuda) if the host has an NVIDIA GPU and the store has a cuda profile for
        it, else V(cpu).
      - A GPU that cannot be used is a failure. It names the driver that is needed, or the profile that fits. V(cpu)
        ignores the GPU.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
  patches:
    description:
      - The repairs of upstream's files that the release gets. They are part of its id.
      - If a language does not start without a repair, it always gets that repair.
      - V(kokoro-eval) takes Kokoro out of training mode, in which Xinference leaves it.
      - V(kokoro-words) divides long text in every language, so that Kokoro leaves nothing out.
      - V(serving-model) lets requests take turns after each sentence, and refuses impossible ones.
      - V(serving-api) adds streams, OpenAI's names and a list of voices to Xinference's API.
      - V(audio-only) lets Xinference read its catalogue of audio models alone, not those of all types.
      - V(start-local) and V(start-host) let Xinference's two processes start at the same time, not one after the other.
      - V(start-types) and V(start-ocr) leave out imports that speech does not need.
    type: list
    elements: str
    choices:
      - kokoro-eval
      - kokoro-words
      - serving-model
      - serving-api
      - audio-only
      - start-local
      - start-host
      - start-types
      - start-ocr
    default: []
  any_platform:
    description: Whether an unsupported platform is only a warning, not a failure.
    type: bool
    default: false
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Check the host
  voicefleet.kokoro.preflight:
    lock: true
"""

RETURN = r"""
findings:
  description: The findings, each with level V(FAIL) or V(WARN), code, cause and remedy.
  returned: always
  type: list
  elements: dict
table:
  description: What a deploy would do, as lines to print.
  returned: success
  type: list
  elements: str
  sample: ["to send: 143 files, 827.0 MB"]
cores:
  description: The CPU cores that the service may use.
  returned: success
  type: int
  sample: 16
plan:
  description:
    - What to do on the host. The role preflight sets it as C(voicefleet_plan) for the roles after it. It is a variable
      of the run, not a fact, so that no fact cache keeps it for a later run.
  returned: success
  type: dict
  sample: {profile: cpu-py311-x86_64}
"""
