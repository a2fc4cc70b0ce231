#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Examine one host, whatever is broken there
description:
  - Reads the host's state in one call of M(voicefleet.kokoro.service_state) and judges it on the controller. Sets the
    fact C(voicefleet_doctor), a list of findings. Each is OK, WARN or FAIL, with a stable code, a cause and a remedy.
  - Never fails and changes nothing. If a host cannot be reached or read, that is a finding too.
  - C(docs/doctor.md) lists the codes. M(voicefleet.kokoro.doctor_report) summarises the findings of all hosts.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  minimum_memory_mb:
    description: The least memory of a host in MB.
    type: int
    default: 4000
  store:
    description:
      - The store on the controller. If it carries advisories, the components of the host's release are compared with
        them. A folder without a store is no error.
    type: path
  peer:
    description:
      - Another host of the play, to which this one tries a connection. Empty means none.
      - Its C(name), and what the lookup P(voicefleet.kokoro.service#lookup) says about it. C(networks) are those that
        may connect to it, as in C(IPAddressAllow=). If this host is in none of them, no connection is expected.
    type: dict
    default: {}
  bundle:
    description: The archive of a support bundle on the controller. Empty means no bundle. Check mode writes none.
    type: str
    default: ""
extends_documentation_fragment:
  - voicefleet.kokoro.host
  - voicefleet.kokoro.host.service
  - voicefleet.kokoro.host.api
  - voicefleet.kokoro.attributes.unchanging
seealso:
  - module: voicefleet.kokoro.doctor_report
"""

EXAMPLES = r"""
- name: Examine the host
  voicefleet.kokoro.doctor:
"""

RETURN = r"""
ansible_facts:
  description: The fact C(voicefleet_doctor) with C(findings).
  returned: always
  type: dict
  sample:
    voicefleet_doctor:
      findings:
        - {level: FAIL, code: UNIT, cause: voicefleet-xinference.service is inactive., remedy: Start it.}
status:
  description: V(0) if all is OK, V(1) with a warning, V(2) with a failure.
  returned: always
  type: int
  sample: 2
"""
