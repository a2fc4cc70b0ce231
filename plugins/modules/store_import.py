# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_import
short_description: Update a store to the contents of an export
description:
  - Verifies everything first. All volumes must be complete and undamaged. The export must start from the manifest that
    the store has. No path may lead out of the store. If a check fails, the store does not change.
  - Unpacks and hashes new files beside the store, then renames them into it. The manifest comes last. It may be killed
    at any moment, and the next run continues where it stopped.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  folder:
    description: The folder with C(export.json) and all volumes.
    type: path
    required: true
extends_documentation_fragment:
  - voicefleet.kokoro.store
  - voicefleet.kokoro.store.signature
  - voicefleet.kokoro.attributes
"""

EXAMPLES = r"""
- name: Update the store to the carried export
  voicefleet.kokoro.store_import:
    path: /srv/store
    folder: /media/usb/export-2
"""

RETURN = r"""
manifest_sha256:
  description: The digest of the manifest that the store has now.
  returned: success
  type: str
  sample: 5b1c0f6f
signed_by:
  description: The name of the signer in O(allowed_signers). Empty if the signer was not checked.
  returned: success
  type: str
  sample: fetcher@example.com
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
