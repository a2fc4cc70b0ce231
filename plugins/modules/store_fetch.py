# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_fetch
short_description: Build the store on the connected machine
description:
  - Reads the languages, voices and models from the settings of the role P(voicefleet.kokoro.settings#role).
  - Downloads what the locks and the catalogue pin, checks every digest, builds wheels of packages published as source
    alone, and writes the manifest last.
  - Can be cut at any moment and run again. Files are kept by digest in a cache that many stores share.
  - Never falls back to another source than the configured one.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  locks:
    description: Folder of the C(pylock.*.toml) files.
    type: path
    required: true
  profiles:
    description: For which hosts, as accelerator, Python and architecture.
    type: list
    elements: str
    required: true
  pythons:
    description: Versions, such as V(3.11), of which the store carries an interpreter for hosts that have none.
    type: list
    elements: str
    default: []
  python_source:
    description: Address of the interpreters' builds, a mirror, or C(file://) and a folder of archives.
    type: str
    default: https://github.com/astral-sh/python-build-standalone/releases/download
  dictionary_source:
    description: Address of the folder of UniDic's archive, a mirror, or C(file://) and a folder.
    type: str
    default: https://cotonoha-dic.s3-ap-northeast-1.amazonaws.com
  contents:
    description: V(python) leaves the models out.
    type: str
    choices: [all, python]
    default: all
  spacy_source:
    description: Address of spaCy's releases, a mirror, or C(file://) and a folder of tarballs.
    type: str
    required: true
  kokoro_source:
    description: Address of a model hub, or C(file://) and a folder with the model's files.
    type: str
    required: true
  index:
    description:
      - A package index (PEP 503), such as a mirror of PyPI, that is asked before the addresses in the locks.
      - The digests in the locks hold all the same.
    type: str
  signing_key:
    description:
      - Private SSH key to sign the manifest with, or a public one whose private part an ssh-agent holds.
      - Without it the store is left unsigned.
    type: path
  cache:
    description: Where downloads are kept. Empty means C(voicefleet/downloads) in the user's cache.
    type: path
  uv:
    description: The uv that builds wheels. Empty means the one on PATH, else the store's own.
    type: path
  proxy:
    description:
      - The controller's own way out. What is not set comes from the environment.
      - The proxy is asked before anything is fetched; all that stands in the way is told at once.
    type: dict
    suboptions:
      http:
        description: The proxy for C(http://) targets, without credentials.
        type: str
        default: ""
      https:
        description: The proxy for C(https://) targets, without credentials.
        type: str
        default: ""
      all:
        description: The proxy for all other targets. A fetch uses none of them.
        type: str
        default: ""
      no_proxy:
        description: What is reached directly, besides loopback.
        type: list
        elements: str
        default: []
      username:
        description: The proxy's user as it is.
        type: str
        default: ""
      password:
        description: The proxy's password as it is.
        type: str
        default: ""
      ca_certificates:
        description: Files with certificates of private CAs in PEM.
        type: list
        elements: path
        default: []
      pip_index_url:
        description: A mirror of PyPI, for uv.
        type: str
        default: ""
      hf_endpoint:
        description: A mirror of the model hub.
        type: str
        default: ""
      probe:
        description: Whether to ask the proxy first.
        type: bool
        default: true
      probe_url:
        description: What to ask it for, instead of the sources.
        type: str
        default: ""
extends_documentation_fragment:
  - voicefleet.kokoro.store
attributes:
  check_mode:
    support: partial
    description: Names the files that would be added. Wheels that have yet to be built are not among them.
  diff_mode:
    support: full
    description: Lists files added and removed.
"""

EXAMPLES = r"""
- name: Build a store for hosts without a GPU
  voicefleet.kokoro.store_fetch:
    path: /srv/store
    locks: /srv/locks
    profiles: [cpu-py311-x86_64]
    spacy_source: https://github.com/explosion/spacy-models/releases/download
    kokoro_source: https://huggingface.co
"""

RETURN = r"""
added:
  description: Paths that were added to the store.
  returned: success
  type: list
  elements: str
  sample: [spacy/en_core_web_sm-1.2.3.tar.gz]
removed:
  description: Paths that an earlier fetch had put there and this one does not want.
  returned: success
  type: list
  elements: str
  sample: []
signed:
  description: Whether a new signature was made.
  returned: success
  type: bool
  sample: true
synthetic:
  description: Paths of stand-ins made for tests.
  returned: success
  type: list
  elements: str
  sample: []
"""
