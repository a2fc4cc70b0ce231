#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kokoro_files
short_description: Put Kokoro's configuration, weights and voices into a release
description:
  - Arranges the files as Xinference expects them, so that it finds each voice by name and asks no model hub.
  - A second model of the release, such as the one for Mandarin or one that hears, has its own folder beside the first.
  - Files are hard links to the host's artifacts if the file system allows.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  model:
    description: The model's folder in the release.
    type: path
    required: true
extends_documentation_fragment: [voicefleet.kokoro.artifacts, voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Put Kokoro into the release
  voicefleet.kokoro.kokoro_files:
    model: "{{ voicefleet_plan.model.path }}"
    artifacts: "{{ voicefleet_plan.artifacts }}"
"""

RETURN = r"""
files:
  description: Files that were added, relative to the model's folder.
  returned: always
  type: list
  elements: str
  sample: [config.json, kokoro-v1_0.pth, voices/af_heart.pt]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, disk
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.arguments import artifact_options, of_kind
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import artifacts, release


def main() -> None:
    module = AnsibleModule(
        argument_spec={"model": {"type": "path", "required": True}, **artifact_options()}, supports_check_mode=True
    )
    model, paths = module.params["model"], Paths(module.params["root"])
    rows = of_kind(module.params["artifacts"], *release.MODEL_KINDS)
    wanted = release.model_files(rows, model, paths)
    if module.check_mode:
        absent = [file for file in sorted(wanted) if not release.is_placed(wanted[file], os.path.join(model, file))]
        diff = {"before": "", "after": "".join(f"{file}\n" for file in absent)}
        module.exit_json(changed=bool(absent), files=absent, diff=diff)
    deploy_lock.mark("kokoro")
    try:
        wrong = artifacts.weeded(artifacts.weed(module.params["root"], rows))
        if wrong:
            module.fail_json(msg=f"{wrong} The current release was not touched.")
        placed = [
            file for file, source in sorted(wanted.items()) if release.link_or_copy(source, os.path.join(model, file))
        ]
    except OSError as error:
        full = disk.advice(str(error), model, sum(row["size"] for row in rows))
        said = f"{error.strerror}: {error.filename}. {full} The current release was not touched."
        module.fail_json(msg=said if full else diagnosis.explain(said))
    diff = {"before": "", "after": "".join(f"{file}\n" for file in placed)}
    module.exit_json(changed=bool(placed), files=placed, msg=f"{len(placed)} files", diff=diff)


if __name__ == "__main__":
    main()
