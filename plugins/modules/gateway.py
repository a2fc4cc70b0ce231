#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway
short_description: Keep nginx as the TLS gateway in front of the service
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Installs the operator's certificate. Without one, C(openssl) makes an authority and a certificate on the host and
    renews the certificate before it expires. The authority stays, so clients need no new one.
  - Writes one drop-in file for nginx and tests it with C(nginx -t). If the test fails, the former file is restored.
    Otherwise nginx is reloaded.
  - Asks the gateway over TLS whether the service behind it answers.
  - Leaves the rest of nginx's configuration alone.
options:
  state:
    description: V(absent) removes the drop-in file and O(folder), and reloads nginx.
    type: str
    choices: [present, absent]
    default: present
  config:
    description: The text of the drop-in file.
    type: str
    default: ""
  config_path:
    description: The path of the drop-in file.
    type: path
    default: /etc/nginx/conf.d/voicefleet.conf
  folder:
    description: Folder of the certificate C(server.pem), the authority C(ca.pem) and their keys.
    type: path
    default: /etc/voicefleet-gateway
  certificate:
    description: The operator's certificate in PEM form, followed by its chain. If empty, the host makes one.
    type: str
    default: ""
  certificate_key:
    description: The key of O(certificate) in PEM form, without a passphrase.
    type: str
    default: ""
  names:
    description: Names and addresses in a certificate made on the host, which needs at least one.
    type: list
    elements: str
    default: []
  days:
    description: How many days a certificate made on the host is valid.
    type: int
    default: 825
  renew_days:
    description: Days before expiry from which a run renews the certificate. For O(certificate), the run warns instead.
    type: int
    default: 90
  host:
    description: The address at which the module asks the gateway.
    type: str
    default: 127.0.0.1
  port:
    description: The port of the gateway.
    type: int
    default: 9443
  nginx:
    description: The program nginx.
    type: path
    default: /usr/sbin/nginx
  unit:
    description: The distribution's nginx unit.
    type: str
    default: nginx.service
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Remove the gateway
  voicefleet.kokoro.gateway:
    state: absent
"""

RETURN = r"""
changes:
  description: What changed and why. In check mode, what would change.
  returned: success
  type: list
  elements: str
action:
  description: What was done to nginx. V(none), V(started) or V(reloaded).
  returned: success
  type: str
answered:
  description: HTTP status of a request without a key, through the gateway. 401 is the expected answer.
  returned: when the gateway was asked
  type: int
  sample: 401
"""

import os
import shutil
import socket
import ssl
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import certificate
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front.front import (
    Front,
    selinux_warnings,
    version_fault,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import (
    direct,
    layout,
    ownership,
    private_files,
    systemd_unit,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import File, ManagedError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.api import base_url

# keepalive_timeout of an upstream came with nginx 1.15.3.
OLDEST = (1, 16)


class Gateway:
    """One run of the module."""

    def __init__(self, params: dict[str, Any], check: bool) -> None:
        self.params = params
        self.check = check
        # nginx connects to the service.
        self.warnings = selinux_warnings("httpd_can_network_connect")

    def path(self, name: str) -> str:
        return os.path.join(str(self.params["folder"]), name)

    def proxy(self, files: list[File]) -> Front:
        conf = File(self.params["config_path"], self.params["config"])
        return Front(
            systemd_unit.Unit(self.params["unit"]),
            [*files, conf],
            [self.params["nginx"], "-t", "-q"],
            self.path(layout.LOADED_FILE),
            self.check,
        )

    def faults(self) -> list[str]:
        """What prevents a gateway, as one sentence each."""
        params, found = self.params, []
        if not os.access(params["nginx"], os.X_OK):
            found.append(
                f"{params['nginx']} is not there. Install the distribution's package nginx, or set gateway_install:"
                " true where this host reaches a mirror of its distribution."
            )
        elif old := version_fault(params["nginx"], "-v", OLDEST):
            found.append(f"{old} Install a newer package of nginx, or name it in gateway_nginx.")
        if shutil.which("openssl") is None:
            found.append("openssl is not there. It reads and makes certificates. Install its package.")
        if bool(params["certificate"]) != bool(params["certificate_key"]):
            found.append("gateway_certificate and gateway_certificate_key belong together: give both or none.")
        if not params["certificate"]:
            if not params["names"]:
                found.append("A certificate needs a name: gateway_names is empty.")
            if not params["renew_days"] < params["days"]:
                found.append("gateway_renew_days must be less than gateway_certificate_days.")
            for name in params["names"]:
                try:
                    certificate.alternative_name(name)
                except certificate.CertificateError as error:
                    found.append(str(error))
        return found

    def certificate_files(self) -> tuple[list[File], str | None]:
        """The files of the certificate, and why a new one is made (in check mode: would be made)."""
        params = self.params
        if params["certificate"]:
            made = certificate.given(params["certificate"], params["certificate_key"])
            if not certificate.lasts(made.certificate, params["renew_days"]):
                self.warnings.append(f"the gateway's certificate expires within {params['renew_days']} days; renew it")
            return self.files_of(made), None
        why = certificate.why_renew(params["folder"], params["names"], params["renew_days"])
        if why is None:
            made = certificate.Made(*(private_files.read_text(self.path(name)) or "" for name in certificate.FILES))
        elif self.check:
            return [], why
        else:
            made = certificate.make(params["folder"], socket.gethostname(), params["names"], params["days"])
        return self.files_of(made), why

    def files_of(self, made: certificate.Made) -> list[File]:
        files = [
            File(self.path("server.key"), made.key, 0o600, secret=True),
            File(self.path("server.pem"), made.certificate),
        ]
        if made.ca:
            files += [
                File(self.path("ca.key"), made.ca_key, 0o600, secret=True),
                File(self.path("ca.pem"), made.ca),
            ]
        return files

    def run(self) -> dict[str, Any]:
        files, why = self.certificate_files()
        made = [f"certificate made on the host ({why})"] if why else []
        # Clients on this host read the authority from this folder.
        ownership.keep(self.params["folder"], 0o755, os.geteuid(), check=self.check)
        result = self.proxy(files).apply()
        result["changes"] = made + result["changes"]
        result["changed"] = bool(result["changes"])
        result["msg"] = "; ".join(result["changes"]) or result["msg"]
        if not self.check:
            result["answered"] = self.ask()
        return result

    def ask(self) -> int:
        """HTTP status of a request without a key, over TLS. Raises ManagedError if there is no answer."""
        context = ssl.create_default_context(cafile=None if self.params["certificate"] else self.path("ca.pem"))
        if self.params["certificate"]:
            # This host need not know the root certificate that clients trust. No key is sent.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        names = self.params["names"] or ["localhost"]
        url = base_url(self.params["host"], self.params["port"]).replace("http:", "https:", 1) + "/v1/models"
        end = time.monotonic() + 10
        while True:
            try:
                headers = {"Host": names[0]}
                return direct.ask("GET", url, 10, 1 << 20, headers, context=context, server_name=names[0]).status
            except direct.PeerError as error:
                if time.monotonic() > end:
                    raise ManagedError(
                        f"nginx runs, but port {self.params['port']} does not answer over TLS: it {error}"
                    ) from None
                time.sleep(0.5)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "config": {"type": "str", "default": ""},
            "config_path": {"type": "path", "default": layout.GATEWAY_CONFIG},
            "folder": {"type": "path", "default": layout.GATEWAY},
            "certificate": {"type": "str", "default": ""},
            "certificate_key": {"type": "str", "default": "", "no_log": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "days": {"type": "int", "default": 825},
            "renew_days": {"type": "int", "default": 90},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 9443},
            "nginx": {"type": "path", "default": "/usr/sbin/nginx"},
            "unit": {"type": "str", "default": layout.GATEWAY_UNIT},
        },
        supports_check_mode=True,
    )
    gateway = Gateway(module.params, module.check_mode)
    try:
        if module.params["state"] == "absent":
            module.exit_json(**gateway.proxy([]).remove([module.params["folder"]]))
        faults = gateway.faults()
        if faults:
            module.fail_json(msg="The gateway was not changed. " + " ".join(faults))
        result = gateway.run()
    except (ManagedError, certificate.CertificateError, systemd_unit.SystemdError, OSError) as error:
        module.fail_json(msg=" ".join([f"The gateway is not complete: {error}", *gateway.warnings]))
    for warning in gateway.warnings:
        module.warn(warning)
    if result.get("answered") in (502, 503, 504):
        module.warn(f"the gateway runs, but the service behind it does not answer ({result['answered']}).")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
