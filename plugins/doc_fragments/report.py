# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules which write reports share."""

from __future__ import annotations


class ModuleDocFragment:
    """The option O(report_dir), and where such a module runs."""

    DOCUMENTATION = r"""
options:
  report_dir:
    description: The folder on the controller. A relative path starts where C(ansible-playbook) was started.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Writes nothing.
  diff_mode:
    support: none
    description: What it writes is not the state of a host.
notes:
  - Runs on the controller only. It never reports a change, because it changes no host.
"""
