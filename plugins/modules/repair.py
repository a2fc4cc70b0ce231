#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: repair
short_description: Inspect, repair or restore an Xinference that exists
description:
  - Works in a place, which is a Python that has Xinference. The place is a virtual environment, a conda prefix, or a
    running container of Docker or Podman.
  - One program does the work with the place's own Python. It needs nothing else there, and no network.
  - V(present) installs missing packages and spaCy models, adds Kokoro's files where this Xinference looks for them,
    repairs known files, and writes settings that stop Xinference from asking the network.
  - An existing package is never changed. An existing file with other contents stays.
  - A ledger in the folder C(voicefleet-repair) of the prefix lists each change with the former bytes. V(absent)
    restores them. It changes nothing if somebody changed one of these files since.
  - The ledger also notes that what runs has not been started again since the last change. V(settled) removes this note.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  state:
    description:
      - V(present) makes the changes of O(plan). V(absent) restores what was there before.
      - V(inspected) reports what the place holds, and changes nothing.
      - V(settled) says that the service or its model was started again.
    type: str
    choices: [present, absent, inspected, settled]
    default: present
  restart:
    description:
      - Whether a restart follows. With V(absent), a ledger without changes then stays until V(settled), so that a
        restart that fails is not forgotten.
    type: bool
    default: false
  prefix:
    description:
      - The prefix of the environment, such as C(/srv/xinference/venv). Its program is C(bin/python).
      - If this and O(container) are empty, the place is found from running processes, loaded units and running
        containers. If there are several, the module lists them and stops.
    type: str
    default: ""
  container:
    description: The name or id of a running container. O(prefix) then is a path inside it.
    type: str
    default: ""
  engine:
    description: The engine of O(container). V(auto) means the one that has it.
    type: str
    choices: [auto, docker, podman]
    default: auto
  home:
    description:
      - The home of Xinference (C(XINFERENCE_HOME)) in the place. Empty means the home of the running process, unit or
        container, or else C(.xinference) in the home folder of the environment's owner.
    type: str
    default: ""
  plan:
    description:
      - What the place should have, from M(voicefleet.kokoro.repair_plan). V(present) needs all keys of a plan.
        V(inspected) reports the state of the named files and repairs.
    type: dict
    default: {}
  root:
    description: The folder on the host that holds the delivered artifacts.
    type: path
    default: /var/lib/voicefleet-repair
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Inspect a virtual environment
  voicefleet.kokoro.repair:
    prefix: /srv/xinference/venv
    state: inspected
  register: repair_report

- name: Restore what was there before the repair
  voicefleet.kokoro.repair:
    container: xinference
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [install en_core_web_sm 1.2.0, add /root/.xinference/cache/v2/Kokoro-82M/voices/af_heart.pt]
place:
  description:
    - How the place is named and how Xinference runs there, with C(name), C(unit), C(container) and C(engine).
    - C(units) has the names of the units that start Xinference with this Python and are not stopped. If all of them
      are stopped, it has all their names.
    - C(python) is its Python on the host. It is empty for a container.
  returned: always
  type: dict
report:
  description: What the place holds.
  returned: for O(state=inspected)
  type: dict
ledger:
  description: The ledger in the place.
  returned: for all states but V(inspected)
  type: str
  sample: /srv/xinference/venv/voicefleet-repair/ledger.json
owed:
  description: Whether what runs was not started again since the last change, by this run or an earlier one.
  returned: for all states but V(inspected)
  type: bool
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import mending, patches, spacy_sdist
from ansible_collections.voicefleet.kokoro.plugins.module_utils.repair import place as places

Json = dict[str, Any]

# What a plan has.
PARTS = ("files", "links", "texts", "patches", "packages", "artifacts", "uv")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str", "choices": ["present", "absent", "inspected", "settled"], "default": "present",
            },
            "restart": {"type": "bool", "default": False},
            "prefix": {"type": "str", "default": ""},
            "container": {"type": "str", "default": ""},
            "engine": {"type": "str", "choices": ["auto", "docker", "podman"], "default": "auto"},
            "home": {"type": "str", "default": ""},
            "plan": {"type": "dict", "default": {}},
            "root": {"type": "path", "default": layout.REPAIR},
        },
        supports_check_mode=True,
    )  # fmt: skip
    params = module.params
    lacking = [name for name in PARTS if name not in params["plan"]]
    if params["state"] == "present" and lacking:
        module.fail_json(
            msg=f"The plan lacks {', '.join(lacking)}. Pass the whole plan of voicefleet.kokoro.repair_plan."
        )
    try:
        engine = "" if params["engine"] == "auto" else params["engine"]
        found = places.find(params["prefix"], params["container"], engine)
        place = places.reach(found)
        asked = {
            "home": params["home"] or found.home or None, "user": found.user, "check": module.check_mode,
            "environment": found.environment,
        }  # fmt: skip
        about = {"name": found.name, "unit": found.unit, "units": [found.unit] if found.unit else [],
                 "container": found.container, "engine": found.engine,
                 "python": "" if found.container else place.python, **found.details}  # fmt: skip
        acts = {"inspected": inspect, "present": repair, "absent": restore, "settled": settle}
        result = acts[params["state"]](params, place, asked)
    except (places.PlaceError, mending.MendingError, patches.PatchError, spacy_sdist.SpacyModelError) as error:
        module.fail_json(msg=diagnosis.explain(f"{str(error).rstrip('.')}."))
    except OSError as error:
        module.fail_json(msg=f"{error.strerror}: {error.filename}.")
    lines = result["changes"]
    diff = {"before": "", "after": "".join(f"{line}\n" for line in lines)}
    said = f"{found.name}: {len(lines)} changes" if lines else f"{found.name}: nothing to change"
    module.exit_json(changed=bool(lines), msg=said, place=about, diff=diff, **result)


def inspect(params: Json, place: Any, asked: Json) -> Json:
    plan = params["plan"]
    wanted = {"files": plan.get("files") or [], "roots": plan.get("roots") or []}
    report = place.run({**asked, **wanted, "do": "inspect", "patches": mending.repairs(plan.get("patches") or [])})
    return {"changes": [], "report": report}


def repair(params: Json, place: Any, asked: Json) -> Json:
    plan, root = params["plan"], params["root"]
    request = {
        **asked, "do": "apply", "files": plan["files"], "links": plan["links"], "texts": plan["texts"],
        "patches": mending.repairs(plan["patches"]),
    }  # fmt: skip
    if asked["check"] or not plan["artifacts"]:
        done = place.run({**request, "packages": plan["packages"], "uv": plan["uv"]})
        return answer(done)
    material = mending.Material(root, os.path.join(root, "made"))
    request.update(material.collect(plan))
    done = place.run(request, material.files)
    # The place has its own copies now.
    if ownership.is_ours(root):
        ownership.remove(root)
    return answer(done)


def restore(params: Json, place: Any, asked: Json) -> Json:
    return answer(place.run({**asked, "do": "revert", "keep": params["restart"]}), "restore ")


def settle(params: Json, place: Any, asked: Json) -> Json:
    return answer(place.run({**asked, "do": "settle"}), "settle ")


def answer(done: Json, what: str = "") -> Json:
    return {"changes": [f"{what}{each}" for each in done["changed"]], "ledger": done["ledger"], "owed": done["owed"]}


if __name__ == "__main__":
    main()
