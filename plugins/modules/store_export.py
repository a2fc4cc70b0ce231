# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_export
short_description: Write a store, or what is new in it, into volumes for removable media
description:
  - The difference to the manifest of an earlier export goes into plain tar archives of at most O(volume_mb) each, with
    C(export.json) beside them, in which every volume and every file is hashed.
  - A file that is larger than a volume is cut into parts. The manifest travels beside the volumes, with its signature
    where there is one, and is what the next export starts from.
  - The store is verified first. The same store gives the same volumes, byte for byte.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  folder:
    description: Where the export goes. An earlier export in it is not overwritten.
    type: path
    required: true
  since:
    description:
      - The manifest that the receiving store has, a file, or the folder of the export or store that holds it.
      - Without it the whole store travels.
    type: path
  volume_mb:
    description:
      - Size of a volume in MB (1,000,000 bytes), at least 1.
      - The default fits into the 4 GiB that FAT32 allows a file.
    type: int
    default: 4000
extends_documentation_fragment:
  - voicefleet.kokoro.store
attributes:
  check_mode:
    support: full
    description: Says what would travel, and in how many volumes.
  diff_mode:
    support: full
    description: The paths that travel and that go.
"""

EXAMPLES = r"""
- name: Write the whole store in volumes of 4 GB
  voicefleet.kokoro.store_export:
    path: /srv/store
    folder: /media/usb/export-1

- name: Write what is new since then
  voicefleet.kokoro.store_export:
    path: /srv/store
    folder: /media/usb/export-2
    since: /media/usb/export-1/manifest.json
"""

RETURN = r"""
manifest_sha256:
  description: The digest of the manifest to which the export leads.
  returned: success
  type: str
  sample: 5b1c0f6f
volumes:
  description: Number of volumes.
  returned: success
  type: int
  sample: 3
size:
  description: Bytes of all volumes.
  returned: success
  type: int
  sample: 827000000
added:
  description: Paths of the files that travel.
  returned: success
  type: list
  elements: str
  sample: [wheels/kokoro-1.2.3-py3-none-any.whl]
removed:
  description: Paths that are no longer in the store.
  returned: success
  type: list
  elements: str
  sample: []
findings:
  description: Files to blame for a failure, by kind, path and detail.
  returned: failure
  type: list
  elements: dict
  sample: []
"""
