#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: receipts_summary
short_description: Write one summary of the ledgers of all hosts
description:
  - Gathers the fact C(releases_receipts) that the role P(voicefleet.kokoro.releases#role) set on each host. Writes
    C(receipts.json) and the page C(receipts.html) with the current release of each host, since when, deployed by whom,
    from which manifest, the level of its proof, and every receipt without its list of artifacts.
  - Includes hosts that could not be read, and says so.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  hosts:
    description: The hosts of the summary.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [voicefleet.kokoro.report]
seealso:
  - module: voicefleet.kokoro.host_state
"""

EXAMPLES = r"""
- name: Summarise the ledgers
  voicefleet.kokoro.receipts_summary:
    report_dir: voicefleet-report
    hosts: "{{ groups['all'] }}"
"""

RETURN = r"""
html:
  description: The page for people. It needs no network.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/receipts.html
json:
  description: The file of the summary.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/receipts.json
not_read:
  description: Hosts that could not be read.
  returned: success
  type: list
  elements: str
lines:
  description: A table for the terminal. With more than 20 hosts, it lists only those to look at.
  returned: success
  type: list
  elements: str
  sample: ["host  current  since  by  manifest  proof  took  source"]
"""
