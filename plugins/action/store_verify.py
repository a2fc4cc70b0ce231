# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a store against its manifest, before any host is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo, sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    age,
    catalogue,
    provenance,
    signature,
    store,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import (
    FILENAME,
    PROVENANCE,
    ManifestError,
    manifest_bytes,
    parse_manifest,
)


class ActionModule(base.ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["path"]).absolute()
        memo = Memo(base.memo_path())
        try:
            # The signature first: the files are compared with the manifest, so it must be trusted.
            allowed = Path(arguments["allowed_signers"]) if arguments["allowed_signers"] else None
            data = manifest_bytes(path)
            manifest = parse_manifest(data, str(path / FILENAME))
            trust = signature.check(path, arguments["signature_policy"], allowed, data=data)
            statement = provenance.data_of(path)
            if statement is not None:
                signature.check(path, arguments["signature_policy"], allowed, PROVENANCE, statement)
            stated = provenance.read(path, sha256_bytes(data))
            accepted = age.Accepted(base.accepted_path())
            if not arguments["allow_older"]:
                age.refuse_older(manifest, accepted.at(path))
            findings = store.verify(path, memo, manifest)
        except ManifestError as error:
            raise AnsibleActionFail(str(error)) from None
        except age.OlderError as error:
            raise AnsibleActionFail(f"No host was touched: {path} went back in time: {error}.") from None
        except (signature.SignatureError, provenance.ProvenanceError) as error:
            raise AnsibleActionFail(f"No host was touched: {error}.") from None
        except OSError as error:
            raise AnsibleActionFail(
                f"No host was touched: {error.filename or path} cannot be read: {error.strerror}."
            ) from None
        memo.save()
        if findings:
            lines = "\n".join(f"  {finding}" for finding in findings)
            if any(finding.path.startswith("spacy/") and finding.kind != "unlisted" for finding in findings):
                lines += f"\n{catalogue.SPACY_REASON}"
            raise AnsibleActionFail(
                f"The store {path} is damaged, so no host was touched. {len(findings)} finding(s):\n{lines}\n"
                "Run playbooks/fetch.yml again on the connected machine (it replaces only what is wrong), "
                "or copy the store again.",
                result={"findings": [vars(finding) for finding in findings]},
            )
        if not self.check_mode and (warning := accepted.accept(path, manifest)):
            base.display.warning(warning)
        size = sum(artifact.size for artifact in manifest.artifacts)
        message = f"{len(manifest.artifacts)} files, {size / 1e6:.0f} MB, all match the manifest; {trust.sentence}"
        return {
            "changed": False,
            "msg": f"{message}. {stated.sentence.rstrip('.')}" if stated else message,
            "signed_by": trust.signer,
            "provenance": stated.as_row() if stated else {},
            "manifest_sha256": sha256_bytes(data),
            "unpublished": manifest.unpublished,
            "profiles": list(manifest.profiles),
            "findings": [],
        }
