# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_lock
short_description: Make locks for other versions of Xinference, torch, spaCy or Kokoro
description:
  - Resolves the packages again with uv, for each profile, and writes one lock for each into a folder. A fetch takes
    that folder as its locks.
  - Takes only files that were uploaded some days ago. Malicious releases are usually found and removed within days.
  - Refuses unknown, withdrawn, recent and malicious releases, and a version without a wheel for a profile. Nothing is
    written then.
  - Returns the differences to the locks of this collection, the repairs that do not fit, and what that means.
  - The reference phonemes are not made again. A fetch reads the kinds of GPUs from the new torch.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  locks:
    description: The folder of the new locks. It also gets C(locks.json), a record of what was asked and found.
    type: path
    required: true
  profiles:
    description: The profiles of the hosts, such as V(cpu-py311-x86_64).
    type: list
    elements: str
    required: true
  versions:
    description:
      - The versions to lock, by package. A package that is not named keeps the version of this collection's lock if
        that fits. Otherwise it gets the newest version that fits.
    type: dict
    default: {}
  days:
    description: How many days ago a file must have been uploaded. V(0) takes files of any age.
    type: int
    default: 7
  index:
    description: A package index (PEP 503), such as a mirror of PyPI. Empty means PyPI.
    type: str
  advisories:
    description:
      - A file of advisories in the format of OSV. It is a zip or JSON file.
      - Malicious packages are refused. Known weaknesses are named.
    type: path
  cache:
    description: The folder of downloads. Empty means C(voicefleet/downloads) in the user's cache.
    type: path
  uv:
    description: The uv that resolves. Empty means the uv on PATH, or else the one beside Ansible's Python.
    type: path
extends_documentation_fragment: [voicefleet.kokoro.store.proxy]
attributes:
  check_mode:
    support: full
    description: Resolves and checks everything, and writes nothing.
  diff_mode:
    support: full
    description: Lists the packages that differ from the locks of this collection.
"""

EXAMPLES = r"""
- name: Lock another version of Xinference
  voicefleet.kokoro.store_lock:
    locks: /srv/locks
    profiles: [cpu-py311-x86_64]
    versions: {xinference: 1.2.3}
"""

RETURN = r"""
lines:
  description: The result as lines for a terminal.
  returned: success
  type: list
  elements: str
changes:
  description:
    - Each package that differs from the locks of this collection. A row has C(name), C(old), C(new), C(note) and
      C(profiles).
  returned: success
  type: list
  elements: dict
  sample: [{name: xinference, old: 1.2.4, new: 1.2.3, note: "", profiles: [cpu-py311-x86_64]}]
unfit:
  description: The repairs that do not fit the new packages.
  returned: success
  type: list
  elements: str
  sample: [start-host]
notes:
  description: What a person must know, one sentence or two each.
  returned: success
  type: list
  elements: str
uploaded_before:
  description: Only files that were uploaded before this time were taken. Empty if files of any age were.
  returned: success
  type: str
  sample: "2026-01-31T12:00:00Z"
"""
