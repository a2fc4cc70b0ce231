#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: spacy_model
short_description: Install spaCy model tarballs into a release
description:
  - Turns each tarball, which is an sdist, into a wheel without running its C(setup.py). Then installs the wheel with
    uv.
  - Needs no network, compiler or setuptools. spaCy, uv and pip see the model as an installed package.
  - Checks the model's C(spacy_version) against the locked spaCy first.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  release:
    description: The release's folder.
    type: path
    required: true
  python_version:
    description: The minor version of the release's Python, such as V(3.11).
    type: str
    required: true
  spacy_version:
    description: The version of spaCy in the release.
    type: str
    required: true
  uv_version:
    description: The version of uv in C(tools/), which installs the wheels.
    type: str
    required: true
extends_documentation_fragment: [voicefleet.kokoro.artifacts, voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Install the spaCy models
  voicefleet.kokoro.spacy_model:
    release: "{{ voicefleet_plan.release.path }}"
    python_version: "3.11"
    spacy_version: 1.2.4
    uv_version: 1.2.3
    artifacts: "{{ voicefleet_plan.artifacts }}"
"""

RETURN = r"""
installed:
  description: Models that were installed, with their versions.
  returned: always
  type: list
  elements: str
  sample: [en_core_web_sm 1.2.0]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, disk
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.arguments import artifact_options, of_kind
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import (
    artifacts,
    python_env,
    spacy_install,
    spacy_sdist,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "path", "required": True},
            "python_version": {"type": "str", "required": True},
            "spacy_version": {"type": "str", "required": True},
            "uv_version": {"type": "str", "required": True},
            **artifact_options(),
        },
        supports_check_mode=True,
    )
    params = module.params
    paths = Paths(params["root"])
    env = os.path.join(params["release"], "env")
    site = os.path.join(env, "lib", f"python{params['python_version']}", "site-packages")
    todo = [
        row
        for row in of_kind(params["artifacts"], "spacy-model")
        if not spacy_install.is_installed(site, row["name"], row["version"])
    ]
    names = [f"{row['name']} {row['version']}" for row in todo]
    diff = {"before": "", "after": "".join(f"{name}\n" for name in names)}
    if not todo or module.check_mode:
        module.exit_json(changed=bool(todo), installed=names, diff=diff)
    deploy_lock.mark("spacy_models")
    try:
        wrong = artifacts.weeded(artifacts.weed(params["root"], todo))
        if wrong:
            raise spacy_sdist.SpacyModelError(wrong.rstrip("."))
        spacy_install.install(
            todo, params["release"], params["spacy_version"], params["artifacts"], params["uv_version"], paths
        )
    except (spacy_sdist.SpacyModelError, python_env.EnvError) as error:
        failed = f"{error}."
    except OSError as error:
        failed = f"{error.strerror}: {error.filename}."
    else:
        failed = ""
    if failed:
        needed = disk.unpacked((row["name"], row["version"], row["size"]) for row in todo)
        full = disk.advice(failed, params["release"], needed)
        said = f"{full} {failed} The current release was not touched.".strip()
        module.fail_json(msg=said if full else diagnosis.explain(said))
    module.exit_json(changed=True, installed=names, msg=", ".join(names), diff=diff)


if __name__ == "__main__":
    main()
