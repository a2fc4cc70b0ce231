# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_import
short_description: Bring a store to the state of an export
description:
  - Verifies everything first, that all volumes are there and whole, that the export starts from the very manifest that
    the store has, and that no path leads out of the store. A refusal leaves the store as it was.
  - New files are unpacked and hashed beside the store, then renamed into it; the manifest comes last. Killed at any
    moment and run again, it goes on where it stopped.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  folder:
    description: The folder with C(export.json) and all volumes.
    type: path
    required: true
extends_documentation_fragment:
  - voicefleet.kokoro.store
  - voicefleet.kokoro.store.signature
attributes:
  check_mode:
    support: full
    description: Verifies everything and says what would travel.
  diff_mode:
    support: full
    description: The paths that travel and that go.
"""

EXAMPLES = r"""
- name: Bring the store to what was carried over
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
  description: The name in O(allowed_signers) of the key that signed, empty where that was not checked.
  returned: success
  type: str
  sample: fetcher@example.com
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
