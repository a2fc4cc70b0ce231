# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what modules do in check mode and in diff mode."""

from __future__ import annotations


class ModuleDocFragment:
    """For modules that change a host or a store. The part C(unchanging) is for those that change nothing."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: Reports what would change, and changes nothing.
  diff_mode:
    support: full
    description: Shows what changes, or would change in check mode. It never shows a secret.
"""

    UNCHANGING = r"""
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing.
"""
