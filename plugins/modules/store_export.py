# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_export
short_description: Write a store, or what changed in it, into volumes for removable media
description:
  - Writes what changed since the manifest of an earlier export. The volumes are plain tar archives of at most
    O(volume_mb) each.
  - C(export.json), beside the volumes, holds the hashes of every volume and every file. A file larger than a volume is
    split into parts.
  - The manifest lies beside the volumes, with its signature if there is one. The next export starts from this manifest.
  - With O(signing_key) it signs C(export.json). An import with a list of trusted signers accepts only a signed one.
  - Verifies the store first. The same store gives the same volumes, byte for byte.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  folder:
    description: The folder of the export. It never overwrites another export.
    type: path
    required: true
  since:
    description:
      - The manifest that the receiving store has. Give the file, or the folder of the export or store that holds it.
      - If unset, the whole store is exported.
    type: path
  volume_mb:
    description:
      - Size of a volume in MB (1,000,000 bytes), at least 1.
      - The default is below the limit of FAT32, which is 4 GiB.
    type: int
    default: 4000
  signing_key:
    description:
      - The SSH key that signs the index. Give the private key, or a public key whose private key is in an ssh-agent.
      - If unset, the index is not signed.
    type: path
extends_documentation_fragment: [voicefleet.kokoro.store, voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Write the whole store in volumes of 4 GB
  voicefleet.kokoro.store_export:
    path: /srv/store
    folder: /media/usb/export-1

- name: Write what changed since then
  voicefleet.kokoro.store_export:
    path: /srv/store
    folder: /media/usb/export-2
    since: /media/usb/export-1/manifest.json
"""

RETURN = r"""
manifest_sha256:
  description: The digest of the new manifest.
  returned: success
  type: str
  sample: 5b1c0f6f
volumes:
  description: Number of volumes.
  returned: success
  type: int
  sample: 3
size:
  description: Bytes of all volumes together.
  returned: success
  type: int
  sample: 827000000
added:
  description: Paths of the files in the export.
  returned: success
  type: list
  elements: str
  sample: [wheels/kokoro-1.2.3-py3-none-any.whl]
removed:
  description: Paths that are no longer in the store.
  returned: success
  type: list
  elements: str
findings:
  description: The faulty files of a failure, with kind, path and detail.
  returned: failure
  type: list
  elements: dict
"""
