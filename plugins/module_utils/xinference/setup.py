# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the secrets of one host's Xinference, its home, accounts, key and autostart entries as they are wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..host import layout, ownership, private_files
from . import config, program
from .program import SetupError

Json = dict[str, Any]

# The options of the module xinference_setup.
OPTIONS: Json = {
    "node": {"type": "str", "choices": ["whole", "supervisor", "worker"], "default": "whole"},
    "release_path": {"type": "path", "required": True},
    "models": {"type": "list", "elements": "dict", "required": True},
    "languages": {"type": "list", "elements": "str", "default": []},
    "language_models": {"type": "dict", "default": {}},
    "hearing_model": {"type": "str", "default": ""},
    "user": {"type": "str", "default": "voicefleet"},
    "home": {"type": "path", "default": layout.HOME},
    "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
    "candidate": {"type": "bool", "default": False},
    "secrets_from": {"type": "path", "no_log": False},
    "home_from": {"type": "path"},
    "admin_user": {"type": "str", "default": "admin"},
    "deploy_user": {"type": "str", "default": "voicefleet-deploy"},
    "client_key_name": {"type": "str", "default": "voicefleet-client", "no_log": False},
    **{name: {"type": "str", "no_log": True} for name in config.SECRETS},
    "max_retries": {"type": "int", "default": 1000},
    "retry_interval": {"type": "int", "default": 10},
}


class Setup(program.Step):
    """One run. In ``check`` mode, it only says what it would change."""

    def __init__(self, params: Mapping[str, Any], check: bool) -> None:
        super().__init__(params, check)
        self.secrets_dir: str = params["secrets_dir"]
        self.names = config.Names(params["admin_user"], params["deploy_user"], params["client_key_name"])
        self.models = [
            launch
            for model in params["models"]
            for launch in config.launches(
                model,
                params.get("languages") or [],
                params.get("language_models") or {},
                params.get("hearing_model") or "",
            )
        ]
        self.secrets: dict[str, str] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.secrets_dir, name)

    # -- secrets and their files

    def keep_secrets(self) -> None:
        """Determine all secrets and write their files if content, owner or mode differ."""
        self.keep_folder(self.secrets_dir)
        worker = self.params["node"] == "worker"
        folders = (self.secrets_dir, self.params.get("secrets_from"))
        texts = (
            private_files.read_text(os.path.join(each, config.SECRETS_FILE))
            for each in folders
            if each and os.path.isdir(each)
        )
        stored = config.load_secrets(next(filter(None, texts), None))
        given = {name: self.params[name] for name in config.SECRETS}
        if worker and self.check and not all(given[n] or stored.get(n) for n in config.WORKER_SECRETS):
            self.changes.append("the cluster's secrets would be brought from the supervisor")
            return
        self.secrets, events = config.merge_secrets(given, stored, worker)
        self.changes += events
        for name, text in config.files(self.secrets, self.params["node"] == "supervisor").items():
            self.keep_file(self.path(name), text)

    # -- the service's home

    def keep_home(self, owner: tuple[int, int]) -> None:
        """Give the home and the important files in it to the service's user, closed to others."""
        why = ownership.keep(self.home, 0o700, *owner, check=self.check)
        if why is not None:
            self.changes.append(f"{self.home} made the service's own ({why})")
        for parts, mode, folder in config.PRIVATE:
            path = os.path.join(self.home, *parts)
            why = private_files.wrong(path, mode, *owner, folder=folder)
            if why is not None and why.startswith("not a "):
                raise SetupError(f"{path} is {why} and was not touched. Move it away, then run again")
            if why not in (None, "missing"):
                self.changes.append(f"{path} made the service's own ({why})")
                if not self.check:
                    private_files.own_below(self.home, parts, mode, *owner)

    # -- databases

    def observe(self, owner: tuple[int, int] | None) -> Json:
        if owner is None or not program.has_databases(self.home):
            return config.NOTHING
        observed: Json = self.ask("observe", owner, self.secrets.values())["observed"]
        return observed

    def copy_keys(self, owner: tuple[int, int]) -> None:
        """Give a new candidate the accounts and keys of its service, so that it knows them from its start."""
        source = self.params.get("home_from")
        if source and not self.check and program.has_databases(source) and not program.has_databases(self.home):
            self.ask("copy", owner, self.secrets.values(), {"from": source})
            self.changes.append(f"accounts and keys copied from {source}")

    def keep_databases(self, owner: tuple[int, int] | None) -> None:
        entries = [
            config.autostart_entry(model, self.params["max_retries"], self.params["retry_interval"])
            for model in self.models
        ]
        applied_path = self.path(config.APPLIED_FILE)
        applied = config.load_applied(
            private_files.read_text(applied_path) if os.path.isdir(self.secrets_dir) else None
        )
        observed = self.observe(owner)
        wanted = config.wanted_state(self.secrets, self.names, entries, observed, applied)
        found = config.differences(observed, wanted, applied)
        if found and (self.check or owner is None):
            self.changes += found
        elif found and owner is not None:
            applied = program.correct(
                lambda action, state: self.ask(action, owner, self.secrets.values(), state),
                self.secrets, self.names, entries, wanted, self.changes,
            )  # fmt: skip
            self.record(applied_path, applied)

    def run(self) -> Json:
        self.keep_secrets()
        owner = program.account(self.params["user"], self.check)
        if owner is not None:
            self.keep_home(owner)
            self.copy_keys(owner)
        if self.params["node"] != "worker":
            self.keep_databases(owner)
        kept = "secrets" if self.params["node"] == "worker" else "accounts, key and autostart"
        return {
            **self.result(f"{kept} are as wanted"),
            "cores": len(os.sched_getaffinity(0)),
            "environment_file": self.path(config.ENVIRONMENT_FILE),
            "header_file": self.path(config.HEADER_FILE),
            "model_uids": [model["model_uid"] for model in self.models],
        }
