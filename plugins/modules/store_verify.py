# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_verify
short_description: Check every file of a store against its manifest
description:
  - Presence and size first, then digests on all cores. A file that was hashed before and was not touched since is not
    read again.
  - Reports all findings at once, each with its kind, V(missing), V(truncated), V(corrupt), V(unlisted) or
    V(unreadable).
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
extends_documentation_fragment:
  - voicefleet.kokoro.store
  - voicefleet.kokoro.store.signature
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Verify the store
  voicefleet.kokoro.store_verify:
    path: /srv/store
"""

RETURN = r"""
manifest_sha256:
  description: The digest of the manifest, to which receipts refer.
  returned: success
  type: str
  sample: 5b1c0f6f
signed_by:
  description: The name in O(allowed_signers) of the key that signed, empty where that was not checked.
  returned: success
  type: str
  sample: fetcher@example.com
synthetic:
  description: Paths of stand-ins made for tests.
  returned: success
  type: list
  elements: str
  sample: []
profiles:
  description: The profiles that the store serves.
  returned: success
  type: list
  elements: str
  sample: [cpu-py311-x86_64]
findings:
  description: What is wrong, by kind, path and detail. The task fails where it is not empty.
  returned: always
  type: list
  elements: dict
  sample: []
"""
