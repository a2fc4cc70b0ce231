# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Bake a complete image from a store
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Builds the release of a store in a container of a base image, without a network. Writes it as one layer on that
    base.
  - Writes an archive for C(docker load) and C(podman load), its digest, a bill of materials and a record beside it.
  - The same store, settings, base and version of this collection give the same archive, byte for byte.
  - Needs Docker or Podman on the controller. Uses the settings of the role P(voicefleet.kokoro.settings#role) and a
    store that was verified in this run.
options:
  state:
    description:
      - V(planned) only returns the release that the image would hold.
      - V(present) makes the image, unless the same one is there.
      - V(thin) makes an image of O(base), which already has Xinference, with one more layer. The layer holds what
        C(repair.yml) would change there. The image keeps its own program, user and environment.
    type: str
    choices: [planned, present, thin]
    default: present
  output:
    description: The folder for the archive and the files beside it.
    type: path
    required: true
  base:
    description:
      - The base image. Give the name of one that the engine has, or an archive of C(docker save) with one image.
      - It needs glibc, a shell and nothing else.
    type: str
    required: true
  engine:
    description: The engine. V(auto) takes the first that answers, V(docker) or V(podman).
    type: str
    choices: [auto, docker, podman]
    default: auto
  name:
    description: The image's name.
    type: str
    required: true
  tag:
    description: The image's tag. If empty, it is the release's id.
    type: str
    default: ""
  python:
    description: The Python of O(base) that has Xinference. Only for O(state=thin).
    type: str
    default: python3
  profile:
    description: What the image computes on, V(cpu) or V(cuda), or a whole profile of the store.
    type: str
    default: cpu
  user_id:
    description: Number of the user and the group as which the service runs.
    type: int
    default: 10001
  patches:
    description: Names of repairs to make in upstream files of the release.
    type: list
    elements: str
    default: []
  accept_unpublished:
    description: Whether the store may hold files that are not the published ones.
    type: bool
    default: false
  unit:
    description: The text of the service's unit. The image takes command, environment and time to stop from it.
    type: str
    default: ""
  launch:
    description: The payload of C(POST /v1/models) with which the model is launched.
    type: dict
    default: {}
  settings:
    description: Further settings for the program in the image, such as the port and the names of accounts.
    type: dict
    default: {}
  address:
    description: The address of the host on which the example command publishes the service.
    type: str
    default: 127.0.0.1
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Bake the image
  ansible.builtin.import_role:
    name: voicefleet.kokoro.image
  vars:
    image_output: /srv/image
    image_base: debian:12-slim
"""

RETURN = r"""
plan:
  description: The plan of the release, as M(voicefleet.kokoro.preflight) returns it.
  returned: when state is planned
  type: dict
  sample: {release: {id: 1.2.3-3f9a1c2b7d5e}}
image:
  description: What was made, with the image's name and id, and with the archive's name, digest and size.
  returned: when state is present or thin
  type: dict
  sample: {image: "voicefleet-kokoro:1.2.3-3f9a1c2b7d5e", archive_sha256: 5b1c0f6f, size: 1900000000}
commands:
  description: The commands that load and run the image.
  returned: when state is present or thin
  type: list
  elements: str
"""
