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
  - Fails with all findings, before anything was changed.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  store:
    description: The store on the controller.
    type: path
    required: true
  languages:
    description: Kokoro's letters of the languages.
    type: list
    elements: str
    required: true
  voices:
    description: The voices. Empty means all of the languages that the store holds.
    type: list
    elements: str
    default: []
  spacy_models:
    description: spaCy models to install beside those that the languages need.
    type: list
    elements: str
    default: []
  root:
    description: The folder on the host that holds artifacts and releases.
    type: path
    default: /opt/voicefleet
  home:
    description: The service's home.
    type: path
    default: /var/lib/voicefleet
  port:
    description: The port that must be free or ours.
    type: int
    default: 9997
  accept_synthetic:
    description: Whether stand-ins made for tests may be deployed.
    type: bool
    default: false
  minimum_memory_mb:
    description: The least memory of a host, in MB.
    type: int
    default: 3500
  lock:
    description:
      - Whether to take the host's deploy lock, and fail where another controller holds it. It is named in
        C(voicefleet_plan.lock), and M(voicefleet.kokoro.deploy_lock) gives it back.
      - The lock of a play of this controller that has ended is taken over. A boot of the host ends every lock.
    type: bool
    default: false
  lock_seconds:
    description: The age at which another controller's lock counts as left behind and is taken over.
    type: int
    default: 7200
  topology:
    description:
      - V(cluster) reads the members of the host's cluster from the inventory (C(xinference_supervisor),
        C(xinference_workers), C(xinference_address) and the ports, or the groups C(voicefleet_supervisor) and
        C(voicefleet_workers)) and checks them and the host's place among them.
    type: str
    choices: [independent, cluster]
    default: independent
  open:
    description: Whether a node by itself listens for others; a host without C(nft) is then told of.
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
  cards:
    description: >-
      The cards that the service uses, by the index that C(nvidia-smi) shows. Empty means all that can be used.
    type: list
    elements: int
    default: []
  replicas:
    description: Processes of each language's model, which the cards' memory must hold.
    type: int
    default: 1
  candidate:
    description:
      - Whether an upgrade tries the new release beside the one that serves. V(auto) does where the host has the room,
        and warns where it has not; V(always) fails there; V(never) does not.
    type: str
    choices: [auto, always, never]
    default: auto
  candidate_port:
    description: The loopback port of the release that is tried. V(0) is the next free one after O(port).
    type: int
    default: 0
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
  mandarin_model:
    description: The model that speaks Mandarin, V(v1.0) as all other languages, or V(v1.1-zh) of its own.
    type: str
    choices: [v1.0, v1.1-zh]
    default: v1.0
  any_platform:
    description: Whether a platform that is not among the supported ones is a warning, and no refusal.
    type: bool
    default: false
  japanese_dictionary:
    description: The dictionary of Japanese. V(light) is a Python package, V(full) UniDic's own archive.
    type: str
    choices: [light, full]
    default: light
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
    store: /srv/store
    languages: [a]
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
