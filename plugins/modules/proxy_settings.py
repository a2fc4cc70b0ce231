#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy_settings
short_description: Configure proxies, mirrors and private CAs for a host's clients, or remove these settings
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Tests the proxy from this host first. If there is a problem, the module reports it and changes nothing.
  - NO_PROXY contains loopback, the host's own names and addresses, O(no_proxy) and O(peers).
  - Credentials are percent-encoded and kept in files that only root can read.
  - The role P(voicefleet.kokoro.proxy#role) calls it through the action P(voicefleet.kokoro.proxy#module).
extends_documentation_fragment: [voicefleet.kokoro.proxy]
options:
  certificates:
    description: Private CAs, each as the text of one PEM certificate.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Set the proxy
  voicefleet.kokoro.proxy_settings:
    http: http://proxy.example.com:3128
    https: http://proxy.example.com:3128
    no_proxy: [.example.com, 10.20.0.0/24]

- name: Remove the settings
  voicefleet.kokoro.proxy_settings:
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed and why, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["/etc/profile.d/voicefleet-proxy.sh written (missing)"]
notes:
  description: What the operator should know about the result.
  returned: success
  type: list
  elements: str
  sample: ["*.example.com was written as .example.com, because most clients do not support asterisks"]
cautions:
  description:
    - What the operator should check. Foreign files with such settings stay as they are. So do files of the module that
      somebody changed.
  returned: success
  type: list
  elements: str
findings:
  description: All problems, by code and text. If there are any, the module fails.
  returned: always
  type: list
  elements: dict
no_proxy:
  description: The value of NO_PROXY on this host.
  returned: when O(state=present)
  type: str
  sample: localhost,127.0.0.1,::1,0.0.0.0,speech-01,10.20.0.11
"""

import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy import files, probe
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy.settings import (
    Settings,
    no_proxy,
    problems,
    secrets_of,
)


def main() -> None:
    texts = ("http", "https", "all", "username", "pip_index_url", "hf_endpoint", "probe_url")
    lists = ("no_proxy", "peers", "certificates", "units")
    clients = list(files.CLIENTS)
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **{name: {"type": "str", "default": ""} for name in texts},
            **{name: {"type": "list", "elements": "str", "default": []} for name in lists},
            "password": {"type": "str", "default": "", "no_log": True},
            "clients": {"type": "list", "elements": "str", "choices": clients, "default": clients},
            "probe": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**act(module.params, module.check_mode, module))
    except (files.ProxyFilesError, OSError) as error:
        module.fail_json(msg=f"{error}. Fix that, then run again", findings=[])


def act(params: dict[str, Any], check: bool, module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result. If there are findings, fail with all of them before anything is changed."""
    settings = Settings.of(params)
    host = files.Host(check, secrets_of(settings))
    if params["state"] == "absent":
        host.remove()
        return files.as_result(host.done, [])
    direct = no_proxy(settings, files.own_names(socket.gethostname()))
    findings = [probe.Finding("SETTINGS", sentence) for sentence in problems(settings)]
    if not findings:
        findings = probe.socks_findings(settings)
    if params["probe"] and not findings:
        findings = probe.probe(settings, direct.entries, params["probe_url"])
    if findings:
        lines = "".join(f"\n  {finding}" for finding in findings)
        module.fail_json(
            msg=f"nothing was changed, because of these problems:{lines}", findings=[vars(f) for f in findings]
        )
    target = files.wanted(settings, direct, params["clients"], params["units"])
    host.keep(target)
    result = files.as_result(host.done, target.notes)
    return {**result, "no_proxy": direct.value}


if __name__ == "__main__":
    main()
