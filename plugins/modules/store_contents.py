# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_contents
short_description: Report what a store holds
description:
  - For each file, the report shows name, version, size, licence, hosts and source. It also shows totals by kind,
    profile and licence.
  - If the store carries advisories, the report names the components that they affect. It also says who fetched the
    store, if the store has a statement of its provenance.
  - The module reads only the manifest, the advisories and the provenance. The same store gives the same report.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  folder:
    description: Where to write C(contents.md) and C(contents.json). If unset, or in check mode, nothing is written.
    type: path
extends_documentation_fragment: [voicefleet.kokoro.store, voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Report what must be carried
  voicefleet.kokoro.store_contents:
    path: /srv/store
    folder: /srv/contents
"""

RETURN = r"""
contents:
  description: The report as data, with the keys C(artifacts) and C(totals). Sizes are in bytes.
  returned: success
  type: dict
  sample: {totals: {all: {files: 145, size: 827000000}}}
lines:
  description: The report as lines for a terminal.
  returned: success
  type: list
  elements: str
  sample: ["Carry the whole folder: 145 files, 827.0 MB, for hosts of cpu-py311-x86_64."]
affected:
  description:
    - The components that the store's advisories name, the worst first. Each has C(component), C(version), C(id),
      C(ids), C(severity), C(fixed), C(summary) and C(sure), which is false if the versions cannot be compared.
  returned: success
  type: list
  elements: dict
  sample: [{component: example, version: 1.2.3, id: CVE-2026-0001, severity: HIGH, fixed: 1.2.4, sure: true}]
unpublished:
  description: The paths of files that are not the published ones, each with its source.
  returned: success
  type: dict
"""
