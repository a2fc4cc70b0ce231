# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake a complete image from the store, with Docker or Podman on the controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo, write_atomic
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import (
    mending,
    patches,
    python_env,
    spacy_sdist,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.config import ConfigError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import images, repair
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import archive, engine, image, thin, unit
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import selection
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError, read_verified

FAILURES = (
    image.ImageError, archive.ArchiveError, engine.EngineError, ManifestError, patches.PatchError, python_env.EnvError,
    mending.MendingError, spacy_sdist.SpacyModelError, images.UnfitError, repair.Stop, ConfigError, ValueError,
)  # fmt: skip


def _selected(kind: type[selection.Wanted], settings: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The fields of a selection."""
    return {
        **selection.given(kind, settings),
        "patches": patches.choose(arguments["patches"]),
        "accept_unpublished": arguments["accept_unpublished"],
    }


def _common(
    contents: images.Contents[Any], wanted: image.Wanted, identity: str, driver: engine.Engine, name: str
) -> dict[str, Any]:
    """The fields that all images have."""
    tag = image.tag_of(wanted, identity)
    return {
        "base": name, "base_identity": driver.identity(name), "created": contents.created, "tag": tag,
        "beside": contents.beside(tag, name),
    }  # fmt: skip


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
            Path(arguments["output"]).absolute(), arguments["python"],
        )  # fmt: skip
        driver = engine.Engine.find(arguments["engine"])
        name = image.base_name(wanted, driver, load=not self.check_mode)
        if not name:
            said = f"the base {wanted.base} would be loaded into {driver.name}, and the image would be baked"
            return {"changed": True, "msg": said, "plan": {}, "image": {}, "commands": []}
        if arguments["state"] == "thin":
            chosen = repair.Wanted(**_selected(repair.Wanted, settings, arguments))
            place = thin.place_of(driver, name)
            report = thin.report(driver, name, wanted.python, place, repair.wishes(manifest, chosen))
            layer = images.layer(manifest, digest, store, chosen, name, report)
            common = _common(layer, wanted, layer.plan["id"], driver, name)
            for finding in layer.findings:
                base.display.warning(f"{name}: {finding}")
            return self._thin(
                thin.Planned(**common, plan=layer.plan, place=place, python=wanted.python), wanted, driver
            )
        asked = selection.Wanted(**_selected(selection.Wanted, settings, arguments))
        facts = driver.probe(name).facts
        release = images.release(manifest, digest, store, asked, wanted.profile, name, facts)
        common = _common(release, wanted, release.plan.release.id, driver, name)
        planned = image.Planned(**common, plan=release.plan)
        if arguments["state"] == "planned":
            said = f"release {planned.plan.release.id} ({planned.plan.profile}) on {name}"
            return {"changed": False, "msg": said, "plan": planned.plan.as_dict()}
        return self._bake(arguments, planned, wanted, driver)

    def _thin(self, planned: thin.Planned, wanted: image.Wanted, driver: engine.Engine) -> dict[str, Any]:
        decided = thin.inputs(planned)
        said = f"a layer on {planned.base} of {planned.plan['bytes'] / 1e6:.0f} MB of files"
        result = self._made(
            planned, wanted, decided, said, lambda say: thin.make(planned, wanted, decided, driver, say)
        )
        return {**result, "commands": thin.commands(result["image"], driver.name, wanted.output)}

    def _bake(
        self, arguments: dict[str, Any], planned: image.Planned, wanted: image.Wanted, driver: engine.Engine
    ) -> dict[str, Any]:
        service = unit.read(arguments["unit"])
        own = image.settings(planned.plan, service, arguments["launch"], arguments["settings"])
        variables = image.environment(planned.plan, service)
        decided = image.inputs(planned, own, variables, wanted)
        said = f"release {planned.plan.release.id} made of {planned.plan.bytes / 1e6:.0f} MB"
        result = self._made(
            planned, wanted, decided, said,
            lambda say: image.make(planned, wanted, own, variables, decided, driver, say),
        )  # fmt: skip
        made = result["image"]
        return {**result, "commands": list(image.commands(made, driver.name, wanted.output, arguments["address"]))}

    def _made(
        self, planned: image.Target, wanted: image.Wanted, decided: str, said: str,
        make: Callable[[image.Say], dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        """The record of an image that is there, or of a new one; in check mode, what would be made."""
        memo = Memo(base.memo_path())
        tag, output = planned.tag, wanted.output
        record = image.known(tag, output, decided, memo)
        file = image.archive_path(tag, output)
        if record is None and self.check_mode:
            diff = base.diff([], [str(file)])
            return {"changed": True, "msg": f"{file} would be written, with {said}", "image": {}, "diff": diff}
        written: list[Path] = []
        if record is None:
            record, written = make(lambda line: base.display.display(f"  {tag}: {line}")), [file]
        else:
            files = image.beside(planned, output, record)
            written = image.lost(files)
            for path in [] if self.check_mode else written:
                write_atomic(str(path), files[path])
        memo.save()
        message = (
            f"{file}: {record['size'] / 1e6:.0f} MB, sha256 {record['archive_sha256'][:12]}, image {record['id'][7:19]}"
        )
        unchanged = "" if file in written else "; it was made from the same store and settings"
        diff = base.diff([], [str(path) for path in written])
        return {"changed": bool(written), "msg": message + unchanged, "image": record, "diff": diff}
