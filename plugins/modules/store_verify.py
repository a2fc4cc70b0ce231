# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_verify
short_description: Check every file of a store against its manifest
description:
  - Checks the signature, then presence and size of every file, then the digests on all cores. It does not
    hash a file again that is unchanged since it was hashed last.
  - Reports all findings at once. The kind of a finding is V(missing), V(truncated), V(corrupt), V(unlisted) or
    V(unreadable).
  - If the store has a statement of its provenance, it must be about this manifest. Its signature is checked as that of
    the manifest is.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
extends_documentation_fragment:
  - voicefleet.kokoro.store
  - voicefleet.kokoro.store.signature
  - voicefleet.kokoro.attributes.unchanging
"""

EXAMPLES = r"""
- name: Verify the store
  voicefleet.kokoro.store_verify:
    path: /srv/store
"""

RETURN = r"""
manifest_sha256:
  description: The digest of the manifest. Receipts name it.
  returned: success
  type: str
  sample: 5b1c0f6f
signed_by:
  description: The name of the signer in O(allowed_signers). Empty if the signer was not checked.
  returned: success
  type: str
  sample: fetcher@example.com
provenance:
  description: Who fetched the store, when, from which sources and with which versions. Empty if the store does not say.
  returned: success
  type: dict
  sample: {user: kim, host: fetch-01, finished: "2026-01-31T12:00:00Z", versions: {}, sources: ["https://pypi.org"]}
unpublished:
  description: The paths of files that are not the published ones, each with its source.
  returned: success
  type: dict
profiles:
  description: The profiles of the store.
  returned: success
  type: list
  elements: str
  sample: [cpu-py311-x86_64]
findings:
  description: The faults, with kind, path and detail. The task fails if there are any.
  returned: always
  type: list
  elements: dict
"""
