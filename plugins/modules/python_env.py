#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: python_env
short_description: Build the Python environment of a release
description:
  - Builds a virtual environment with uv, from a PEP 751 lock and the wheels that the host holds.
  - Works offline, checks every hash, and never builds from source.
  - Compiles byte code for what the service may load. Python still imports the rest, such as tests of packages.
  - Rebuilds an unfinished environment and leaves a finished one alone.
  - If the files of a sealed release have changed, it reopens the release first and removes the wrong files. This step
    and later steps then restore them. An environment with any wrong file is rebuilt as a whole.
  - If the artifacts hold a Japanese dictionary, unpacks it beside the packages.
  - If the artifacts hold a Python, first unpacks it to the place that O(python) names.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  release:
    description: The release's folder.
    type: path
    required: true
  python:
    description:
      - The interpreter to build on. It is the host's own, or the path at which the artifacts' Python is unpacked.
    type: path
    required: true
  patches:
    description:
      - Names of repairs to make in upstream files of the environment. Each repair applies to one published file, known
        by its digest. If the lock contains another file, the module stops with a message.
    type: list
    elements: str
    default: []
  extras:
    description: Extras of the lock to install, such as V(mandarin). They follow from the release's languages.
    type: list
    elements: str
    default: []
  reuse:
    description:
      - If another sealed release on the host has the same packages and repairs and has not changed, its files are
        linked in place of installing them again. Releases that differ in voices alone are then ready in seconds.
    type: bool
    default: true
extends_documentation_fragment: [voicefleet.kokoro.artifacts, voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Build the environment
  voicefleet.kokoro.python_env:
    release: "{{ voicefleet_plan.release.path }}"
    python: "{{ voicefleet_plan.python.path }}"
    artifacts: "{{ voicefleet_plan.artifacts }}"
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: when it was built
  type: float
  sample: 19.8
"""

import fcntl
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, disk, ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.arguments import artifact_options, of_kind
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import (
    artifacts,
    dictionary,
    inventory,
    patches,
    python_env,
    release,
    twin,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "path", "required": True},
            "python": {"type": "path", "required": True},
            "patches": {"type": "list", "elements": "str", "default": []},
            "extras": {"type": "list", "elements": "str", "default": []},
            "reuse": {"type": "bool", "default": True},
            **artifact_options(),
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        build(module)
    deploy_lock.mark("python_env")
    try:
        # If a controller died, its module may still work here. Wait for its end, and take over its result.
        ownership.claim(module.params["root"])
        os.makedirs(module.params["release"], exist_ok=True)
        descriptor = os.open(module.params["release"], os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        module.fail_json(msg=f"{module.params['release']} cannot be created: {error.strerror}.")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # uv holds the lock too, so a uv that outlives this module is waited for as well.
        os.set_inheritable(descriptor, True)
        build(module)
    finally:
        os.close(descriptor)


def build(module: AnsibleModule) -> None:
    """Build the environment if it is missing or differs from what is wanted; ends the module."""
    params = module.params
    locks = of_kind(params["artifacts"], "lock")
    wheels = of_kind(params["artifacts"], "wheel")
    uv = [row for row in wheels if row["name"] == "uv"]
    if len(locks) != 1 or len(uv) != 1:
        module.fail_json(
            msg=f"A release has one lock and one uv, but these artifacts have {len(locks)} and {len(uv)}. Fetch again."
        )
    # Preflight adds a Python to the artifacts if the host has no suitable one.
    carried = next(
        (row for row in of_kind(params["artifacts"], "python")
         if Paths(params["root"]).python(row["version"]) == params["python"]),
        None,
    )  # fmt: skip
    try:
        repairs = patches.choose(params["patches"])
    except patches.PatchError as error:
        module.fail_json(msg=f"Nothing was changed: {error}.")
    dictionaries = of_kind(params["artifacts"], "dictionary")
    stamp = python_env.stamp_of(locks[0]["sha256"], params["python"], repairs, params["extras"], dictionaries)
    env = f"{params['release']}/env"
    try:
        drift = release.drift(params["release"])
        if drift and not module.check_mode:
            inventory.reopen(params["release"], drift, f"env/{python_env.STAMP}")
    except OSError as error:
        module.fail_json(msg=f"{params['release']} cannot be changed: {error.strerror}: {error.filename}.")
    anew = bool(drift and inventory.in_env(drift))
    if not anew and python_env.is_made(env, stamp) and (
        carried is None or python_env.has_python(carried, params["root"])
    ):  # fmt: skip
        said = f"{params['release']} was reopened" if drift else f"{env} was built from this lock"
        module.exit_json(changed=bool(drift), msg=said, diff=drift_diff(drift) if drift else {})
    installed = [*wheels, *dictionaries, *([carried] if carried is not None else [])]
    packages = "".join(f"{row['name']} {row['version']}\n" for row in installed)
    packages += "".join(f"{patch.file} repaired ({patch.name})\n" for patch in repairs)
    diff = drift_diff(drift) if drift else {"before": "", "after": packages}
    other = twin.find(params["release"], stamp, params["root"]) if params["reuse"] else None
    origin = f" from the same ones of release {os.path.basename(other)}" if other else ""
    if module.check_mode:
        module.exit_json(changed=True, msg=f"{env} would be built, {len(wheels)} packages{origin}", diff=diff)
    started = time.monotonic()
    try:
        if carried is not None:
            python_env.install_python(carried, params["root"])
        if other:
            twin.copy(other, params["release"], stamp)
        else:
            python_env.make(
                params["release"], params["python"], locks[0], wheels, uv[0]["version"], params["root"], repairs,
                params["extras"], dictionaries,
            )  # fmt: skip
    except (python_env.EnvError, dictionary.DictionaryError, OSError) as error:
        # Half an environment does not help the next run, and it may have filled the disk.
        python_env.discard(params["release"])
        said = f"{error.strerror}: {error.filename}." if isinstance(error, OSError) else str(error)
        # uv hashes each wheel, and does not touch a wheel that it refuses.
        said = f"{said} {artifacts.weeded(artifacts.weed(params['root'], [*locks, *wheels, *dictionaries]))}".strip()
        needed = disk.unpacked((row["name"], row["version"], row["size"]) for row in installed)
        full = disk.advice(str(error), params["release"], needed)
        untouched = f"The environment {env} was not built; the current release was not touched."
        module.fail_json(msg=f"{untouched} {full} {said}" if full else diagnosis.explain(f"{untouched} {said}"))
    seconds = round(time.monotonic() - started, 1)
    module.exit_json(changed=True, msg=f"{len(wheels)} packages{origin} in {seconds} s", seconds=seconds, diff=diff)


def drift_diff(drift: inventory.Drift) -> dict[str, str]:
    """Return what is wrong with a sealed release, as a diff that removes it."""
    lines = [f"{sort}: {path}\n" for sort, paths in drift._asdict().items() for path in paths]
    return {"before": "".join(lines), "after": ""}


if __name__ == "__main__":
    main()
