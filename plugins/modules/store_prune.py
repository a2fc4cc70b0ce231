# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_prune
short_description: Remove in two steps what nothing refers to
description:
  - With O(list_to) it lists the files of the store that its manifest does not name, and the files of the download cache
    that none of the named stores uses, and removes nothing.
  - With O(list) it removes exactly what is on such a list. Lines may be taken out of the list before; what is added to
    it is refused. So is the whole list where a manifest or one of the files changed since.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  cache:
    description: The folder of downloads. Empty means C(voicefleet/downloads) in the user's cache.
    type: path
  stores:
    description: Other stores that use the cache; what they refer to stays.
    type: list
    elements: path
    default: []
  list_to:
    description: Where to write the list. Give either this or O(list).
    type: path
  list:
    description: The list to apply.
    type: path
extends_documentation_fragment:
  - voicefleet.kokoro.store
attributes:
  check_mode:
    support: full
    description: Says what would be removed; writes no list.
  diff_mode:
    support: full
    description: The paths that are surplus.
"""

EXAMPLES = r"""
- name: List what is surplus
  voicefleet.kokoro.store_prune:
    path: /srv/store
    list_to: /srv/prune.json

- name: Remove exactly that
  voicefleet.kokoro.store_prune:
    path: /srv/store
    list: /srv/prune.json
"""

RETURN = r"""
list:
  description: The list that was written or applied, empty where nothing is surplus.
  returned: success
  type: str
  sample: /srv/prune.json
files:
  description: The files, each with root (C(store) or C(cache)), path and size in bytes.
  returned: success
  type: list
  elements: dict
  sample: [{root: store, path: notes.txt, size: 12}]
lines:
  description: The same for people.
  returned: success
  type: list
  elements: str
  sample: ["store: notes.txt (12 B, not in the manifest)"]
findings:
  description: Files to blame for a failure, by kind, path and detail.
  returned: failure
  type: list
  elements: dict
  sample: []
"""
