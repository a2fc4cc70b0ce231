# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_prune
short_description: Remove unused files in two steps
description:
  - With O(list_to) it removes nothing. It lists files of the store that the manifest does not name, and files of the
    download cache that none of the named stores uses.
  - With O(list) it removes exactly the files on such a list. You may delete lines from the list before. It refuses a
    list with added lines or other folders, and a list that is older than a change of a manifest or of a listed file.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  cache:
    description:
      - The folder of downloads. Empty means C(voicefleet/downloads) in the user's cache.
      - Give the same O(cache) and O(stores) to make a list and to apply it.
    type: path
  stores:
    description: Other stores that use the same cache. Their files stay in it.
    type: list
    elements: path
    default: []
  list_to:
    description: Where to write the list, except in check mode. Give this or O(list), not both.
    type: path
  list:
    description: The list to apply.
    type: path
extends_documentation_fragment: [voicefleet.kokoro.store, voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: List surplus files
  voicefleet.kokoro.store_prune:
    path: /srv/store
    list_to: /srv/prune.json

- name: Remove exactly these files
  voicefleet.kokoro.store_prune:
    path: /srv/store
    list: /srv/prune.json
"""

RETURN = r"""
list:
  description: The list that was written or applied. Empty if nothing is surplus.
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
  description: The same as lines for a terminal.
  returned: success
  type: list
  elements: str
  sample: ["store: notes.txt (12 B, not in the manifest)"]
findings:
  description: The faulty files of a failure, with kind, path and detail.
  returned: failure
  type: list
  elements: dict
"""
