# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the store on the connected machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import sources
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import spec
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    cache_folder,
    diff,
    display,
    versions,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import deploy_lock, proxy
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    advisories,
    download,
    locks,
    provenance,
    signature,
    store,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import FILENAME, PROVENANCE
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import parse_profile
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.selection import Selection, given

ADVICE = (
    "Nothing is lost: run it again, and it continues where it stopped. Behind a proxy, set proxy_http, proxy_username, "
    "proxy_password and proxy_ca_certificates. "
    "For a mirror or a folder of files, set artifact_store_kokoro_source or artifact_store_spacy_source."
)


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["path"]).absolute()
        for name in ("spacy_source", "kokoro_source", "python_source", "dictionary_source", "hearing_source"):
            if download.without_credentials(arguments[name]) != arguments[name].rstrip("?#") and "@" in arguments[name]:
                raise AnsibleActionFail(
                    f"{name} contains a user name or a password, which would be written into the manifest: "
                    "put credentials into ~/.netrc or the proxy variables instead"
                )
        try:
            request = store.Request(
                **given(Selection, self.settings(task_vars)),
                profiles=[parse_profile(name) for name in arguments["profiles"]],
                lock_folder=Path(arguments["locks"]),
                spacy_source=arguments["spacy_source"],
                kokoro_source=arguments["kokoro_source"],
                pythons=arguments["pythons"],
                python_source=arguments["python_source"],
                contents=arguments["contents"],
                hearing_source=arguments["hearing_source"],
                dictionary_source=arguments["dictionary_source"],
                find_links=download.find_links(os.environ.items()),
                index=arguments["index"],
                uv=arguments["uv"],
                swarm=arguments["swarm"],
                advisories=Path(arguments["advisories"]) if arguments["advisories"] else None,
            )
            owner = deploy_lock.owner(os.getpid())
            with tempfile.TemporaryDirectory() as scratch, proxy.way_out(arguments["proxy"], Path(scratch)) as asked:
                built = store.build(
                    path,
                    request,
                    Path(arguments["cache"]) if arguments["cache"] else cache_folder() / "downloads",
                    lambda line: display.display(f"  {path.name}: {line}"),
                    check=self.check_mode,
                    before_download=lambda: asked(
                        [download.without_credentials(place) for place in (request.index or "", request.kokoro_source)]
                    ),
                    maker=provenance.Maker(owner["user"], owner["controller"], versions()),
                )
        except proxy.ProxyError as error:
            lines = str(error).replace("\n", "\n  ")
            raise AnsibleActionFail(
                f"The store {path} was not built, because the network cannot be used:\n  {lines}"
            ) from None
        except download.DownloadError as error:
            raise AnsibleActionFail(
                f"The store {path} is not complete. These files could not be downloaded:\n{error}\n{ADVICE}"
            ) from None
        except (store.StoreError, BusyError, locks.LockError, advisories.AdvisoryError, ValueError) as error:
            raise AnsibleActionFail(f"The store {path} was not built: {error}") from None
        except OSError as error:
            raise AnsibleActionFail(
                f"The store {path} was not built: {error.strerror}: {error.filename}. {ADVICE}"
            ) from None
        signed = False
        if not self.check_mode:
            # A signature of the old manifest would make every later check fail. The owner of the key signs again.
            try:
                dropped = [name for name in (FILENAME, PROVENANCE) if signature.drop_stale(path, name)]
                if arguments["signing_key"]:
                    key = Path(arguments["signing_key"])
                    made = [name for name in (FILENAME, PROVENANCE) if signature.sign(path, key, name)]
                    signed = bool(made)
            except signature.SignatureError as error:
                raise AnsibleActionFail(f"The store {path} is complete, but {error}") from None
            if dropped and not arguments["signing_key"]:
                display.warning(
                    f"{path}: the signature did not match the new manifest and was removed. Sign the store again."
                )
        size = sum(artifact.size for artifact in built.manifest.artifacts)
        summary = f"{len(built.added)} files added, {len(built.removed)} removed"
        if not self.check_mode:
            summary = f"{len(built.manifest.artifacts)} files, {size / 1e6:.0f} MB; {summary}"
        return {
            "changed": built.changed or signed,
            "msg": summary + ("; signed" if signed else ""),
            "signed": signed,
            "added": built.added,
            "removed": built.removed,
            "unpublished": built.manifest.unpublished,
            "source_in_words": sources.sentence(built.manifest.unpublished),
            "diff": diff(built.removed, built.added),
        }


ActionModule.SPEC["proxy"].update(options=spec.proxy_of_a_fetch())
