# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake a complete image from the store, with Docker or Podman on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches, python_env
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import preflight
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import archive, engine, image, unit
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError, read_verified
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.selection import given

FAILURES = (
    image.ImageError, archive.ArchiveError, engine.EngineError, ManifestError, patches.PatchError, python_env.EnvError,
    ValueError,
)  # fmt: skip


class ActionModule(base.ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._act(arguments, task_vars)
        except FAILURES as error:
            raise AnsibleActionFail(f"The image was not made: {error}.") from None
        except OSError as error:
            raise AnsibleActionFail(
                f"The image was not made: {error.strerror}: {error.filename}. The next run starts again."
            ) from None

    def _act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        settings = self.settings(task_vars)
        store = Path(settings["artifact_store_path"]).absolute()
        manifest, digest = read_verified(store, base.verified_digest(task_vars))
        wanted = image.Wanted(
            arguments["base"], arguments["name"], arguments["tag"], arguments["profile"], arguments["user_id"],
            Path(arguments["output"]).absolute(),
        )  # fmt: skip
        selection = preflight.Wanted(
            **given(preflight.Wanted, settings),
            patches=patches.choose(arguments["patches"]),
            accept_unpublished=arguments["accept_unpublished"],
        )
        driver = engine.Engine.find(arguments["engine"])
        name = image.base_name(wanted, driver, load=not self.check_mode)
        if not name:
            said = f"the base {wanted.base} would be loaded into {driver.name}, and the image would be baked"
            return {"changed": True, "msg": said, "plan": {}, "image": {}}
        planned = image.planned(manifest, digest, store, selection, wanted, driver, name)
        if arguments["state"] == "planned":
            said = f"release {planned.plan.release.id} ({planned.plan.profile}) on {name}"
            return {"changed": False, "msg": said, "plan": planned.plan.as_dict()}
        return self._bake(arguments, planned, wanted, driver)

    def _bake(
        self, arguments: dict[str, Any], planned: image.Planned, wanted: image.Wanted, driver: engine.Engine
    ) -> dict[str, Any]:
        service = unit.read(arguments["unit"])
        own = image.settings(planned.plan, service, arguments["launch"], arguments["settings"])
        variables = image.environment(planned.plan, service)
        decided = image.inputs(planned, own, variables, wanted)
        memo = Memo(base.memo_path())
        record = image.known(planned.tag, wanted.output, decided, memo)
        file = image.archive_path(planned.tag, wanted.output)
        if record is None and self.check_mode:
            size = sum(row.size for row in planned.artifacts)
            said = f"{file} would be written, with release {planned.plan.release.id} made of {size / 1e6:.0f} MB"
            return {"changed": True, "msg": said, "image": {}, "commands": [], "diff": base.diff([], [str(file)])}
        changed = record is None
        if record is None:
            display = base.display.display
            record = image.make(
                planned, wanted, own, variables, decided, driver, lambda line: display(f"  {planned.tag}: {line}")
            )
        memo.save()
        digest = record["archive_sha256"][:12]
        message = f"{file}: {record['size'] / 1e6:.0f} MB, sha256 {digest}…, image {record['id'][7:19]}"
        return {
            "changed": changed,
            "msg": message if changed else f"{message}; it was made from the same store and settings",
            "image": record,
            "commands": list(image.commands(record, driver.name, wanted.output, arguments["address"])),
            "diff": base.diff([], [str(file)] if changed else []),
        }
