# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules of a store share."""

from __future__ import annotations


class ModuleDocFragment:
    """The option O(path); with the part C(signature), what signatures have to say."""

    DOCUMENTATION = r"""
options:
  path:
    description: The store's directory.
    type: path
    required: true
"""

    SIGNATURE = r"""
options:
  signature_policy:
    description:
      - V(strict) refuses a store or an export whose manifest is not signed by a key of O(allowed_signers).
      - V(if-signed) checks a signature where there is one, and takes O(allowed_signers) without one as an error.
      - V(off) checks none.
    type: str
    choices: [strict, if-signed, "off"]
    default: if-signed
  allowed_signers:
    description: File of keys whose signatures count, as C(ssh-keygen) reads it.
    type: path
"""
