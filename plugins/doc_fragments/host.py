# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that modules which read a host share."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the installation is. The parts C(service) and C(api) add the service and its API."""

    DOCUMENTATION = r"""
options:
  root:
    description: The folder that holds artifacts and releases.
    type: path
    default: /opt/voicefleet
  home:
    description: The home directory of the service.
    type: path
    default: /var/lib/voicefleet
"""

    SERVICE = r"""
options:
  secrets_dir:
    description: The folder with the secrets of the service.
    type: path
    default: /etc/voicefleet
  unit:
    description: The systemd unit of the service.
    type: str
    default: voicefleet-xinference.service
"""

    API = r"""
options:
  host:
    description: The address at which the host asks the API. The worker of a cluster asks its supervisor.
    type: str
    default: 127.0.0.1
  port:
    description: The port of the API.
    type: int
    default: 9997
  own_port:
    description: The port on which the service of this host listens. On a worker, it is the port for the supervisor.
    type: int
    default: 9997
  model:
    description: The uid of the model.
    type: str
    default: kokoro
  speak:
    description: Whether to ask a READY model for one sentence. The sound is not kept.
    type: bool
    default: true
  timeout:
    description: How many seconds that sentence may take.
    type: int
    default: 60
"""
