# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules which write reports share."""

from __future__ import annotations


class ModuleDocFragment:
    """The option O(report_dir), and where such a module runs."""

    DOCUMENTATION = r"""
options:
  report_dir:
    description: The folder on the controller. A relative one is taken from where C(ansible-playbook) was started.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Writes nothing.
  diff_mode:
    support: none
    description: What it writes is no state of a host.
notes:
  - Runs on the controller alone. It never says changed, since it changes no host.
"""
