# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy
short_description: Configure the way out for a host's clients, or remove it
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
description:
  - Checks the settings on the controller, reads the certificates there, and lets the host ask its proxy before anything
    is changed. It reports all problems at once.
  - Does nothing if nothing is set.
extends_documentation_fragment:
  - voicefleet.kokoro.proxy
attributes:
  check_mode:
    support: full
    description: Also asks the proxy, and reports what would be written.
  diff_mode:
    support: full
    description: Shows each file, without credentials.
seealso:
  - module: voicefleet.kokoro.proxy_settings
options:
  ca_certificates:
    description: PEM files on the controller with certificates of private CAs.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Set the way out
  voicefleet.kokoro.proxy:
    http: http://proxy.example.com:3128
    https: http://proxy.example.com:3128
    ca_certificates: [/srv/voicefleet/corporate-ca.pem]
    no_proxy: [.example.com]
    peers: "{{ groups['all'] }}"
"""

RETURN = r"""
changes:
  description: What was changed and why, or in check mode what would be.
  returned: success
  type: list
  elements: str
  sample: ["/etc/profile.d/voicefleet-proxy.sh written (missing)"]
notes:
  description: What to know of it.
  returned: success
  type: list
  elements: str
  sample: ["*.example.com was written as .example.com: most clients know no asterisk"]
cautions:
  description:
    - What the operator should look at. Files of others that say something of the kind, or of ours that were altered,
      stay as they are.
  returned: success
  type: list
  elements: str
  sample: []
findings:
  description: What stands in the way, by code and text. The module fails where it is not empty.
  returned: always
  type: list
  elements: dict
  sample: []
no_proxy:
  description: The value of NO_PROXY on this host.
  returned: when O(state=present)
  type: str
  sample: localhost,127.0.0.1,::1,0.0.0.0,speech-01,10.20.0.11
"""
