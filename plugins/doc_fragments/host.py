# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules which look at a host share."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the installation lies; with the parts C(service) and C(api), the service, and how it is asked."""

    DOCUMENTATION = r"""
options:
  root:
    description: The folder that holds artifacts and releases.
    type: path
    default: /opt/voicefleet
  home:
    description: The service's home.
    type: path
    default: /var/lib/voicefleet
"""

    SERVICE = r"""
options:
  secrets_dir:
    description: The folder of the service's secrets.
    type: path
    default: /etc/voicefleet
  unit:
    description: The service's systemd unit.
    type: str
    default: voicefleet-xinference.service
"""

    API = r"""
options:
  host:
    description: The address at which the host asks the API. A worker of a cluster asks its supervisor.
    type: str
    default: 127.0.0.1
  port:
    description: The port of the API.
    type: int
    default: 9997
  own_port:
    description: The port on which the host's own service listens. For a worker it is the one for its supervisor.
    type: int
    default: 9997
  model:
    description: The uid of the model.
    type: str
    default: kokoro
  speak:
    description: Whether a READY model is asked for one sentence, which is kept nowhere.
    type: bool
    default: true
  timeout:
    description: Seconds for that sentence.
    type: int
    default: 60
"""
