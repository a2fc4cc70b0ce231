# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: store_fetch
short_description: Build the store on the connected machine
description:
  - Reads the languages, voices and models from the settings of the role P(voicefleet.kokoro.settings#role).
  - Downloads what the locks and the catalogue pin, and checks every digest. It builds wheels of packages that are
    published only as source. It writes the manifest last.
  - Writes C(provenance.json) beside the manifest, a statement in the form of in-toto that says who fetched the store,
    when, from which sources and with which version of the collection. It stays until the contents change.
  - May be interrupted at any moment and run again. Files stay in a cache, by digest, which many stores share.
  - Uses only the configured sources.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  locks:
    description: Folder of the C(pylock.*.toml) files.
    type: path
    required: true
  profiles:
    description: The profiles of the hosts, such as V(cpu-py311-x86_64).
    type: list
    elements: str
    required: true
  pythons:
    description: Python versions, such as V(3.11), that the store carries for hosts without a suitable Python.
    type: list
    elements: str
    default: []
  python_source:
    description: The address of the Python builds, a mirror, or C(file://) and a folder of archives.
    type: str
    default: https://github.com/astral-sh/python-build-standalone/releases/download
  dictionary_source:
    description: The address of the folder with UniDic's archive, a mirror, or C(file://) and a folder.
    type: str
    default: https://cotonoha-dic.s3-ap-northeast-1.amazonaws.com
  contents:
    description: V(python) leaves the models out.
    type: str
    choices: [all, python]
    default: all
  spacy_source:
    description: The address of spaCy's releases, a mirror, or C(file://) and a folder of tarballs.
    type: str
    required: true
  kokoro_source:
    description: The address of a model hub, or C(file://) and a folder with the model's files.
    type: str
    required: true
  hearing_source:
    description: The address of a model hub, or C(file://) and a folder that has a folder for each model that hears.
    type: str
    default: https://huggingface.co
  index:
    description:
      - A package index (PEP 503), such as a mirror of PyPI. It is tried before the addresses in the locks.
      - Files from it must have the digests in the locks.
    type: str
  signing_key:
    description:
      - The SSH key that signs manifest and provenance. Give the private key, or a public key whose private key is in an
        ssh-agent.
      - If unset, the store is not signed.
    type: path
  cache:
    description: The folder of downloads. Empty means C(voicefleet/downloads) in the user's cache.
    type: path
  advisories:
    description:
      - A file of advisories in the format of OSV. It is a zip or JSON file.
      - The store carries those about its packages as C(advisories.json). If unset, it carries none.
    type: path
  swarm:
    description: Whether the store carries the engine of a delivery by swarm, for each Python that hosts may have.
    type: bool
    default: false
  uv:
    description: The uv that builds wheels. Empty means the uv on PATH, or else the one in the store.
    type: path
extends_documentation_fragment: [voicefleet.kokoro.store, voicefleet.kokoro.store.proxy]
attributes:
  check_mode:
    support: partial
    description: Lists the files that would be added, except wheels that must be built first.
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
  description: Paths from an earlier fetch that are no longer needed.
  returned: success
  type: list
  elements: str
signed:
  description: Whether a new signature was made.
  returned: success
  type: bool
  sample: true
unpublished:
  description: The paths of files that are not the published ones, each with its source.
  returned: success
  type: dict
source_in_words:
  description: What a listener must know about these files. Empty if all are the published ones.
  returned: success
  type: str
"""
