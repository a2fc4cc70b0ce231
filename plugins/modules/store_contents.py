# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_contents
short_description: Report what a store holds
description:
  - For each file, the report shows name, version, size, licence, hosts and source. It also shows totals by kind,
    profile and licence.
  - The module reads only the manifest. The same manifest gives the same report.
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
unpublished:
  description: The paths of files that are not the published ones, each with its source.
  returned: success
  type: dict
"""
