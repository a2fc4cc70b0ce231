# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print lines in the terminal unchanged
description:
  - Prints a table or a list line by line. A task's result folds long lines, which breaks a table.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  lines:
    description: The lines.
    type: list
    elements: str
    required: true
  title:
    description: A line above them. Empty means no title.
    type: str
    default: ""
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
notes:
  - Runs on the controller only.
"""

EXAMPLES = r"""
- name: Show what a deploy would do
  voicefleet.kokoro.show:
    title: "{{ inventory_hostname }}"
    lines: "{{ preflight_result.table }}"
"""

RETURN = r"""
# Nothing of its own.
"""
