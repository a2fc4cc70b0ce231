# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules of a store share."""

from __future__ import annotations


class ModuleDocFragment:
    """The option O(path), and with the parts C(signature) and C(proxy) those for signatures and proxies."""

    DOCUMENTATION = r"""
options:
  path:
    description: The store's directory.
    type: path
    required: true
"""

    PROXY = r"""
options:
  proxy:
    description:
      - The proxy of the controller. Unset values come from the environment. It takes C(http), C(https), C(all),
        C(no_proxy), C(username), C(password), C(ca_certificates), C(pip_index_url), C(hf_endpoint), C(probe) and
        C(probe_url), as M(voicefleet.kokoro.proxy) does.
      - A fetch has no targets for C(all). C(no_proxy) adds to loopback. C(pip_index_url) is for uv. The test requests
        the sources, or else C(probe_url).
      - The proxy is tested before anything is fetched. All problems are reported at once.
    type: dict
"""

    SIGNATURE = r"""
options:
  signature_policy:
    description:
      - V(strict) refuses a store unless a key in O(allowed_signers) signed its manifest. Of an export, the index must
        be signed too.
      - V(if-signed) checks a signature if there is one. With O(allowed_signers), an unsigned store is an error.
      - V(off) checks no signature.
    type: str
    choices: [strict, if-signed, "off"]
    default: if-signed
  allowed_signers:
    description: The file that lists the trusted signers, in the format of C(ssh-keygen).
    type: path
  allow_older:
    description:
      - Accept a manifest that is older than the one that was accepted before. Without it, a store cannot go back.
      - This controller remembers per store which manifest it accepted last, in C(stores.json) in C(VOICEFLEET_CACHE).
    type: bool
    default: false
"""
