# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules for proxies share."""

from __future__ import annotations


class ModuleDocFragment:
    """All options except certificates, which one module reads from files and the other gets as texts."""

    DOCUMENTATION = r"""
options:
  state:
    description: V(absent) removes exactly what was written.
    type: str
    choices: [present, absent]
    default: present
  http:
    description: The proxy for C(http://) targets, without credentials.
    type: str
    default: ""
  https:
    description: The proxy for C(https://) targets, without credentials.
    type: str
    default: ""
  all:
    description: The proxy for all other targets. It may be SOCKS.
    type: str
    default: ""
  no_proxy:
    description: Names, suffixes, addresses and networks that are reached directly.
    type: list
    elements: str
    default: []
  peers:
    description: Names and addresses of the other hosts, which are reached directly.
    type: list
    elements: str
    default: []
  username:
    description: The proxy's user, unencoded.
    type: str
    default: ""
  password:
    description: The proxy's password, unencoded.
    type: str
    default: ""
  pip_index_url:
    description: A mirror of PyPI for pip and uv.
    type: str
    default: ""
  hf_endpoint:
    description: A mirror of the model hub.
    type: str
    default: ""
  clients:
    description: For which clients to write files. Clients that the host does not have are skipped.
    type: list
    elements: str
    choices: [login, pam, systemd, apt, dnf, pip, uv, docker, ansible]
    default: [login, pam, systemd, apt, dnf, pip, uv, docker, ansible]
  units:
    description: systemd units that get the variables with credentials, such as V(dnf-automatic.service).
    type: list
    elements: str
    default: []
  probe:
    description: Whether to test the proxy first.
    type: bool
    default: true
  probe_url:
    description: What to request from it. Empty means the mirrors, or any page if there are none.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Also tests the proxy, and reports what would be written.
  diff_mode:
    support: full
    description: Shows each file, without credentials.
"""
