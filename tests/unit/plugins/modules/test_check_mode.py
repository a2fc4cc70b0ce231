# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode writes nothing, and reports a change exactly if the run then changes something.

A release passes through all modules that write files on a host. Those that also speak with systemd or Xinference
have tests of their own: xinference_setup, xinference_service, xinference_model, synthesis_check, deploy_lock.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release as releases
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import removal
from ansible_collections.voicefleet.kokoro.plugins.modules import (
    artifacts,
    kokoro_files,
    python_env,
    release,
    release_prune,
    spacy_model,
    teardown,
)

FRAGMENTS = "ansible_collections.voicefleet.kokoro.plugins.doc_fragments"
MODULES = Path(release.__file__).parent
# A stand-in for uv that creates the same files.
UV = """#!/bin/sh
case "$1 $2" in
venv*) for last; do :; done; mkdir -p "$last/bin" "$last/lib/python3.11/site-packages"; touch "$last/bin/python" ;;
"pip sync") touch "../env/bin/xinference-local" ;;
"pip install") cd ../env/lib/python3.11/site-packages
    mkdir -p en_core_web_sm-3.8.0.dist-info en_core_web_sm/en_core_web_sm-3.8.0
    touch en_core_web_sm-3.8.0.dist-info/RECORD ;;
esac
"""


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("uv-1.data/scripts/uv", UV)
    return buffer.getvalue()


def tarball() -> bytes:
    meta = {"lang": "en", "name": "core_web_sm", "version": "3.8.0", "spacy_version": ">=3.8.0"}
    name = "en_core_web_sm"
    files = {"meta.json": json.dumps(meta), f"{name}/__init__.py": "", f"{name}/{name}-3.8.0/config.cfg": "[nlp]"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-3.8.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return mode, owner, content, inode and time of everything below a folder. A rewritten file is another file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns, content)
    return found


def test_a_release_passes_through_all_modules(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "host"
    paths = Paths(str(host / "root"))
    host.mkdir()
    ownership.claim(paths.root)
    rows = []
    for path, kind, name, version, data in (
        ("locks/pylock.toml", "lock", "lock", "1", b"lock"),
        ("wheels/uv-1-py3-none-any.whl", "wheel", "uv", "1", zipped()),
        ("spacy/en_core_web_sm-3.8.0.tar.gz", "spacy-model", "en_core_web_sm", "3.8.0", tarball()),
        ("kokoro/K/config.json", "kokoro-config", "config", "1", b"{}"),
        ("kokoro/K/w.pth", "kokoro-weights", "weights", "1", b"weights"),
        ("kokoro/K/voices/af_heart.pt", "kokoro-voice", "af_heart", "1", b"voice"),
    ):
        digest = hashlib.sha256(data).hexdigest()
        rows.append({"path": path, "sha256": digest, "size": len(data), "kind": kind, "name": name, "version": version})
        file = Path(paths.artifact(digest, path))
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    folder, receipts = paths.release("one"), str(host / "evidence/receipts.jsonl")
    plan = {
        "release": {"id": "one", "path": folder}, "paths": paths.as_dict(), "manifest_sha256": "m", "profile": "p",
        "python": {"version": "3.11"}, "model": {"name": "K", "path": f"{folder}/models/K"}, "languages": ["a"],
        "voices": ["af_heart"], "unpublished": {}, "patches": [], "artifacts": rows,
        "language_models": {}, "hearing_model": "", "lock": {},
    }  # fmt: skip
    # An old release, which is to be pruned.
    Path(paths.release("old")).mkdir(parents=True)
    releases.seal(paths.release("old"), {"id": "old", "made": 0})
    # Ignore units and locks of this machine.
    monkeypatch.setattr(removal, "glob", SimpleNamespace(glob=lambda _pattern: [], escape=str))
    monkeypatch.setattr(deploy_lock.mark, "__defaults__", (str(tmp_path / "lock"),))
    monkeypatch.setattr(deploy_lock.progress, "__defaults__", (str(tmp_path / "lock"),))

    def call(module: ModuleType, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit) as ended:
            module.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert not ended.value.code, result
        return result

    common = {"root": paths.root, "artifacts": rows}
    # The files are in place without a stamp, so they are hashed again and none is missing.
    before = snapshot(host)
    assert call(artifacts, {**common, "store": "/store"}, check=True)["changed"] is False
    assert snapshot(host) == before
    assert call(artifacts, {**common, "store": "/store"}, check=False)["missing"] == []
    versions = {"python_version": "3.11", "spacy_version": "3.8.14", "uv_version": "1"}
    steps: list[tuple[ModuleType, dict[str, Any]]] = [
        (python_env, {"release": folder, "python": "/usr/bin/python3.11", **common}),
        (spacy_model, {"release": folder, **versions, **common}),
        (kokoro_files, {"model": f"{folder}/models/K", **common}),
        (release, {"plan": plan, "state": "sealed"}),
        (release, {"plan": plan, "state": "current", "proof": {"level": "format"}, "receipts": receipts}),
        (release_prune, {"plan": plan, "keep": 0, "receipts": receipts}),
        (
            teardown,
            {
                "confirmed": True, "root": paths.root, "secrets_dir": str(host / "secrets"), "home": str(host / "home"),
                "evidence_dir": str(host / "evidence"), "user": "nobody-of-this-name",
            },
        ),
    ]  # fmt: skip
    for module, arguments in steps:
        for expected in (True, False):
            before = snapshot(host)
            said = call(module, arguments, check=True)
            assert snapshot(host) == before, f"{module.__name__} wrote in check mode"
            done = call(module, arguments, check=False)
            assert (said["changed"], done["changed"]) == (expected, expected), module.__name__
            assert (snapshot(host) != before) is expected, module.__name__
            assert bool(said.get("diff")) == bool(done.get("diff")), module.__name__
    assert [line.get("event") for line in ledger.read(receipts)] == [None, "teardown"]


@pytest.mark.parametrize("path", sorted(MODULES.glob("[a-z]*.py")), ids=lambda path: str(path.stem))
def test_every_module_has_a_check_mode_and_says_so(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    documentation = re.search(r'^DOCUMENTATION = r"""$(.*?)^"""$', text, re.MULTILINE | re.DOTALL)
    assert documentation is not None
    described = yaml.safe_load(documentation[1])
    for fragment in described.get("extends_documentation_fragment", []):
        name, part = [*fragment.split(".")[2:], "documentation"][:2]
        shared = getattr(importlib.import_module(f"{FRAGMENTS}.{name}").ModuleDocFragment, part.upper())
        described = {**yaml.safe_load(shared), **described}
    attributes = described["attributes"]
    # Only a request would tell what a fetch downloads. A swarm only brings bytes that the module artifacts reports.
    support = {"store_fetch": "partial", "artifacts_swarm": "none"}.get(path.stem, "full")
    assert attributes["check_mode"]["support"] == support
    assert attributes["diff_mode"]["support"] in ("full", "none")
    if "AnsibleModule(" in text:
        assert ("supports_check_mode=True" in text) == (support != "none")


@pytest.mark.parametrize("path", sorted(MODULES.glob("[a-z]*.py")), ids=lambda path: str(path.stem))
def test_documentation_links_only_within_the_collection(path: Path) -> None:
    """The site has no pages of other collections: write their names as C(...)."""
    linked = re.findall(r"\b[MP]\(([^)#]*)", path.read_text(encoding="utf-8"))
    assert [name for name in linked if not name.startswith("voicefleet.kokoro.")] == []
