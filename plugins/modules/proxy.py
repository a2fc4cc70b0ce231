# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy
short_description: Configure proxies, mirrors and private CAs on a host with the controller's files, or remove them
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Checks the settings and reads the certificates on the controller. Before anything is changed, the host tests its
    proxy. All problems are reported at once.
  - Does nothing if nothing is set.
extends_documentation_fragment: [voicefleet.kokoro.proxy]
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
- name: Set the proxy
  voicefleet.kokoro.proxy:
    http: http://proxy.example.com:3128
    https: http://proxy.example.com:3128
    ca_certificates: [/srv/voicefleet/corporate-ca.pem]
    no_proxy: [.example.com]
    peers: "{{ groups['all'] }}"
"""

RETURN = r"""
# As of M(voicefleet.kokoro.proxy_settings).
"""
