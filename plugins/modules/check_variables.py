# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Refuse values of the roles' variables that cannot work
description:
  - Compares all variables of this collection's roles with their types, choices, ranges and formats.
  - Fails with one line for each wrong value. The line names the variable, the value and what would be right. It never
    shows a secret.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
notes:
  - Runs on the controller only. The role P(voicefleet.kokoro.settings#role) runs it once for each host of a play.
"""

EXAMPLES = r"""
- name: Check the variables
  voicefleet.kokoro.check_variables:
"""

RETURN = r"""
# Nothing of its own.
"""
