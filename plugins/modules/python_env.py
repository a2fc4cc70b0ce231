#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the Python environment of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_env
short_description: Make the Python environment of a release
description:
  - Makes a virtual environment from a PEP 751 lock with uv, from the wheels that the host holds.
  - Offline, every hash checked, byte-compiled, and never building from source.
  - An environment that was cut short is made anew; a finished one is left alone.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  release:
    description: The release's folder.
    type: path
    required: true
  python:
    description: The host's interpreter to build on.
    type: path
    required: true
  root:
    description: The folder that holds C(artifacts/) and C(tools/).
    type: path
    default: /opt/voicefleet
extends_documentation_fragment:
  - voicefleet.kokoro.artifacts
attributes:
  check_mode:
    support: full
    description: Says whether it would be made.
  diff_mode:
    support: full
    description: Lists the packages of an environment that is made.
"""

EXAMPLES = r"""
- name: Make the environment
  voicefleet.kokoro.python_env:
    release: "{{ voicefleet_plan.release.path }}"
    python: "{{ voicefleet_plan.python.path }}"
    artifacts: "{{ voicefleet_plan.artifacts }}"
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: when it was made
  type: float
  sample: 19.8
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils import python_env
from ansible_collections.voicefleet.kokoro.plugins.module_utils.arguments import artifact_list, of_kind


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "path", "required": True},
            "python": {"type": "path", "required": True},
            "root": {"type": "path", "default": "/opt/voicefleet"},
            "artifacts": artifact_list(),
        },
        supports_check_mode=True,
    )
    params = module.params
    locks = of_kind(params["artifacts"], "lock")
    wheels = of_kind(params["artifacts"], "wheel")
    uv = [row for row in wheels if row["name"] == "uv"]
    if len(locks) != 1 or len(uv) != 1:
        module.fail_json(
            msg=f"a release has one lock and one uv; here are {len(locks)} and {len(uv)}. Fetch the store again."
        )
    stamp = python_env.stamp_of(locks[0]["sha256"], params["python"])
    env = f"{params['release']}/env"
    if python_env.is_made(env, stamp):
        module.exit_json(changed=False, msg=f"{env} was made from this lock")
    packages = "".join(f"{row['name']} {row['version']}\n" for row in wheels)
    diff = {"before": "", "after": packages}
    if module.check_mode:
        module.exit_json(changed=True, msg=f"{env} would be made, {len(wheels)} packages", diff=diff)
    started = time.monotonic()
    try:
        python_env.make(params["release"], params["python"], locks[0], wheels, uv[0]["version"], params["root"])
    except python_env.EnvError as error:
        module.fail_json(msg=f"The environment {env} was not made; the release that serves was not touched. {error}")
    except OSError as error:
        module.fail_json(
            msg=f"The environment {env} was not made; the release that serves was not touched. "
            f"{error.strerror}: {error.filename}. Run the play again once that is mended."
        )
    seconds = round(time.monotonic() - started, 1)
    module.exit_json(changed=True, msg=f"{len(wheels)} packages in {seconds} s", seconds=seconds, diff=diff)


if __name__ == "__main__":
    main()
