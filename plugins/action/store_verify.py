# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a store against its manifest, before any host is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, memo_path
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, signature, store
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError, read_manifest


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["path"]).absolute()
        memo = Memo(memo_path())
        try:
            # The signature first: the files are compared with the manifest, so it must be trusted.
            allowed = Path(arguments["allowed_signers"]) if arguments["allowed_signers"] else None
            manifest, digest = read_manifest(path)
            trust = signature.check(path, arguments["signature_policy"], allowed)
            findings = store.verify(path, memo)
        except ManifestError as error:
            raise AnsibleActionFail(str(error)) from None
        except signature.SignatureError as error:
            raise AnsibleActionFail(f"No host was touched: {error}.") from None
        memo.save()
        if findings:
            lines = "\n".join(f"  {finding}" for finding in findings)
            if any(finding.path.startswith("spacy/") for finding in findings):
                lines += f"\n{catalogue.SPACY_REASON}"
            raise AnsibleActionFail(
                f"The store {path} is damaged, so no host was touched. {len(findings)} finding(s):\n{lines}\n"
                "Run playbooks/fetch.yml again on the connected machine (it replaces only what is wrong), "
                "or copy the store again.",
                result={"findings": [vars(finding) for finding in findings]},
            )
        size = sum(artifact.size for artifact in manifest.artifacts)
        return {
            "changed": False,
            "msg": f"{len(manifest.artifacts)} files, {size / 1e6:.0f} MB, all match the manifest; {trust.sentence}",
            "signed_by": trust.signer,
            "manifest_sha256": digest,
            "unpublished": manifest.unpublished,
            "profiles": list(manifest.profiles),
            "findings": [],
        }
