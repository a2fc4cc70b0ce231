# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out in one pass whether a deployed host is already in the state that a deploy would bring it to.

Nothing here compares anything itself, except the account: each part is asked in check mode, by the code that would
correct it. If a single part differs, the deploy takes its usual way and corrects it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from typing import Any

from ..host import deploy_lock, layout, private_files, systemd_unit
from ..host.managed import ManagedError
from ..proof import proof
from ..proof.speech import SpeechClient, SpeechError, read_key
from ..release import ledger, release
from ..xinference import api, config, keepers
from ..xinference.program import SetupError
from ..xinference.service import Service
from ..xinference.setup import Setup
from . import kept

Json = dict[str, Any]

# What the parts raise if something is wrong. A deploy then says it properly.
FAULTS = (SetupError, config.ConfigError, ManagedError, systemd_unit.SystemdError, api.XinferenceError, SpeechError,
          OSError, ValueError)  # fmt: skip


class Look:
    """One look at a host. ``wanted`` holds the options of the modules of a deploy, by part."""

    def __init__(self, wanted: Mapping[str, Json]) -> None:
        self.wanted = wanted
        self.proof: Json = {}
        self.secrets: dict[str, str] = {}

    def difference(self) -> str:
        """The first difference, or "" if there is none. Then ``proof`` is the kept proof, and the model is alive."""
        try:
            return next(self._differences(), "")
        except FAULTS as error:
            return str(error)

    def restarts(self) -> bool:
        """Whether a deploy would interrupt the service: restart its process, or launch a model again."""
        try:
            setup, wanted = Setup(self.wanted["setup"], True).run(), self.wanted["service"]
            action = Service(wanted, True, systemd_unit.Unit(wanted["name"])).run()["action"]
            if action != "none":
                return bool(action == "restarted")  # nobody waits for a service that did not run
            params = self.wanted["model"]
            models = keepers.look(keepers.make_keepers(params, self.secrets), params)
        except FAULTS:
            return False
        environment = f"{setup['environment_file']} written"
        return any(change.startswith(environment) for change in setup["changes"]) or (
            models["changed"] and models["status"] == api.READY
        )

    def _differences(self) -> Iterator[str]:
        path = os.path.join(self.wanted["setup"]["secrets_dir"], config.SECRETS_FILE)
        self.secrets = config.load_secrets(private_files.read_text(path))
        yield from account(self.wanted["account"])
        yield from self._release()
        yield from self._setup()
        service = self.wanted["service"]
        yield from Service(service, True, systemd_unit.Unit(service["name"])).run()["changes"]
        yield from self._models()
        if self.wanted["release"].get("clients"):
            yield "the clients' own keys are other tasks"
        yield from self._proof()

    def _release(self) -> Iterator[str]:
        planned, paths = self.wanted["release"], layout.Paths(self.wanted["release"]["root"])
        if release.current(paths) != planned["id"]:
            yield f"{planned['id']} is not current"
        receipts = ledger.switches(ledger.read(planned["receipts"]))
        if not receipts or receipts[-1].get("release") != planned["id"]:
            yield f"the ledger has no receipt of {planned['id']}"

    def _setup(self) -> Iterator[str]:
        found = Setup(self.wanted["setup"], True).run()
        yield from found["changes"]
        # The controller wrote the text of the unit with this number.
        if found["cores"] != self.wanted["release"]["cores"]:
            yield f"the service may use {found['cores']} cores"

    def _models(self) -> Iterator[str]:
        params = self.wanted["model"]
        yield from keepers.look(keepers.make_keepers(params, self.secrets), params)["changes"]

    def _proof(self) -> Iterator[str]:
        params = self.wanted["proof"]
        kept.complete_from_release(params)
        wanted = kept.wanted_of(params)
        yield from wanted.faults()
        evidence = proof.Evidence(params["evidence_dir"], wanted.release_id)
        held = kept.kept_proof(params, wanted, evidence)
        if held is None:
            yield "there is no proof of this release with these settings"
            return
        deploy_lock.mark("proof")
        client = SpeechClient(
            params["endpoint"], read_key(params["api_key_file"]), params["timeout"], ca_file=params["ca_file"]
        )
        self.proof = kept.still_live(client, wanted, evidence, held)


def account(wanted: Mapping[str, str]) -> Iterator[str]:
    """What Ansible's module user would change in the service's account."""
    try:
        entry = pwd.getpwnam(wanted["name"])
    except KeyError:
        yield f"there is no user {wanted['name']}"
        return
    for name, held in (("comment", entry.pw_gecos), ("home", entry.pw_dir), ("shell", entry.pw_shell)):
        if held != wanted[name]:
            yield f"the user {wanted['name']} has another {name}"
