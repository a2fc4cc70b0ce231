# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: repair_plan
short_description: Inspect an Xinference that exists, and plan its repair from a store
description:
  - Reads the manifest on the controller and inspects the place on the host. Chooses the packages, spaCy models and
    files of Kokoro that the place lacks. Prints what it found.
  - Reads the settings of the role P(voicefleet.kokoro.settings#role) from the host's variables.
  - Fails with all findings before anything is changed.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  prefix:
    description: As in M(voicefleet.kokoro.repair).
    type: str
    default: ""
  container:
    description: As in M(voicefleet.kokoro.repair).
    type: str
    default: ""
  engine:
    description: As in M(voicefleet.kokoro.repair).
    type: str
    choices: [auto, docker, podman]
    default: auto
  home:
    description: As in M(voicefleet.kokoro.repair).
    type: str
    default: ""
  patches:
    description:
      - Names of repairs of upstream's files. Each applies to one published file, known by its digest. A repair of
        another file is reported and left out.
    type: list
    elements: str
    default: []
  packages:
    description: Names of more packages to add if they are missing, such as V(pocketsphinx) for the proof.
    type: list
    elements: str
    default: []
  settings:
    description: Environment variables that the place shall have, unless they are set otherwise there.
    type: dict
    default: {}
  parts:
    description:
      - What the repair may change. V(packages) are missing packages, V(spacy) spaCy models, V(kokoro) the files of
        models, V(patches) the repairs of O(patches), V(settings) the file with O(settings).
    type: list
    elements: str
    choices: [packages, spacy, kokoro, patches, settings]
    default: [packages, spacy, kokoro, patches, settings]
  accept_unpublished:
    description: Whether files that are converted or made up may be used, for tests.
    type: bool
    default: false
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Plan the repair
  voicefleet.kokoro.repair_plan:
    prefix: /srv/xinference/venv
    patches: [kokoro-eval, kokoro-words]
  register: repair_planned
"""

RETURN = r"""
plan:
  description: What the place shall have, for M(voicefleet.kokoro.repair).
  returned: success
  type: dict
place:
  description: The place, as M(voicefleet.kokoro.repair) returns it.
  returned: success
  type: dict
report:
  description: What the place holds.
  returned: success
  type: dict
findings:
  description: What was found, each with C(code), C(error) and C(sentence).
  returned: always
  type: list
  elements: dict
table:
  description: The report in lines.
  returned: success
  type: list
  elements: str
"""
