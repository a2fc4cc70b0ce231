# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions on stores: their results, that check mode writes nothing, and that failures are explained."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    advisories,
    locks,
    provenance,
    relock,
    resolver,
    signature,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import PROVENANCE, read_manifest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.stores import tree, write_store

DEFAULTS: dict[str, dict[str, Any]] = {
    "store_export": {"since": None, "volume_mb": 1, "signing_key": None},
    "store_import": {"signature_policy": "if-signed", "allowed_signers": None, "allow_older": False},
    "store_verify": {"signature_policy": "if-signed", "allowed_signers": None, "allow_older": False},
    "store_prune": {"cache": None, "stores": [], "list_to": None, "list": None},
    "store_contents": {"folder": None},
    "store_lock": {
        "profiles": ["cpu-py311-x86_64"], "versions": {}, "days": 7, "index": None, "advisories": None, "cache": None,
        "uv": None, "proxy": None,
    },
}  # fmt: skip
BASE = "ansible_collections.voicefleet.kokoro.plugins.action"


def run(name: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    task = SimpleNamespace(args={}, check_mode=check_mode, async_val=0, delegate_to=None, action=name)
    module = importlib.import_module(f"{BASE}.{name}")
    action = module.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    result: dict[str, Any] = action.act({**DEFAULTS[name], **texts}, {})
    return result


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICEFLEET_CACHE", str(tmp_path / "cache"))
    write_store(tmp_path / "store", {"wheels/a.whl": b"a" * 1000, "kokoro/voices/v.pt": b"v"})
    return tmp_path / "store"


def test_export_and_import(store: Path, tmp_path: Path) -> None:
    planned = run("store_export", True, path=store, folder=tmp_path / "out")
    assert planned["msg"] == "2 files in 1 volume(s), 0.0 MB"
    assert not (tmp_path / "out").exists()
    done = run("store_export", path=store, folder=tmp_path / "out")
    assert done["changed"]
    assert done["diff"]["after"] == "kokoro/voices/v.pt\nwheels/a.whl\n"
    again = run("store_export", path=store, folder=tmp_path / "out")
    assert (again["changed"], again["msg"].rsplit("; ")[-1]) == (False, "they are already there")
    assert run("store_import", True, path=tmp_path / "new", folder=tmp_path / "out")["msg"].startswith(
        "2 files would be"
    )
    assert not (tmp_path / "new").exists()
    brought = run("store_import", path=tmp_path / "new", folder=tmp_path / "out")
    assert (brought["changed"], brought["msg"]) == (True, "2 files added, 0 removed; not signed")
    assert tree(tmp_path / "new") == tree(store)
    same = run("store_import", path=tmp_path / "new", folder=tmp_path / "out")
    assert (same["changed"], same["manifest_sha256"]) == (False, done["manifest_sha256"])
    none = run("store_export", path=store, folder=tmp_path / "none", since=tmp_path / "out")
    assert (none["changed"], none["volumes"], none["msg"][:14]) == (False, 0, "nothing is new")


def test_a_refused_import_names_the_files(store: Path, tmp_path: Path) -> None:
    run("store_export", path=store, folder=tmp_path / "out")
    (tmp_path / "out" / "volume-0001.tar").unlink()
    with pytest.raises(AnsibleActionFail, match="Nothing was imported .* was not changed") as caught:
        run("store_import", path=tmp_path / "new", folder=tmp_path / "out")
    assert [row["path"] for row in caught.value.result["findings"]] == ["volume-0001.tar"]


def test_a_strict_policy_refuses_an_unsigned_export_before_anything_is_written(store: Path, tmp_path: Path) -> None:
    run("store_export", path=store, folder=tmp_path / "out")
    allowed = tmp_path / "allowed"
    allowed.write_text("")
    with pytest.raises(AnsibleActionFail, match="Nothing was imported into .*is not signed"):
        run(
            "store_import",
            path=tmp_path / "new",
            folder=tmp_path / "out",
            signature_policy="strict",
            allowed_signers=allowed,
        )
    assert not (tmp_path / "new").exists()


@pytest.fixture
def signed(store: Path, tmp_path: Path) -> dict[str, Any]:
    """A signed store and two keys. Returns the arguments of a strict import from its export."""
    for name in ("mine", "foreign"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
        key = (tmp_path / f"{name}.pub").read_text()
        (tmp_path / f"{name}.allowed").write_text(f"{name}@example.com {key}")
    signature.sign(store, tmp_path / "mine")
    return {"path": tmp_path / "new", "folder": tmp_path / "out", "signature_policy": "strict"}


def test_a_strict_policy_accepts_a_signed_export_and_refuses_a_foreign_key(
    store: Path, tmp_path: Path, signed: dict[str, Any]
) -> None:
    assert run("store_export", path=store, folder=tmp_path / "out", signing_key=tmp_path / "mine")["changed"]
    assert not run("store_export", path=store, folder=tmp_path / "out", signing_key=tmp_path / "mine")["changed"]
    with pytest.raises(AnsibleActionFail, match="signed by a key that"):
        run("store_import", **signed, allowed_signers=tmp_path / "foreign.allowed")
    assert not (tmp_path / "new").exists()
    brought = run("store_import", **signed, allowed_signers=tmp_path / "mine.allowed")
    assert brought["signed_by"] == "mine@example.com"
    assert tree(tmp_path / "new") == tree(store)


def state(store: Path, user: str = "kim") -> None:
    manifest, digest = read_manifest(store)
    data = provenance.render(manifest, digest, provenance.Maker(user, "fetch-01"), {}, 0, 0)
    (store / PROVENANCE).write_bytes(data)


def test_the_provenance_travels_with_the_store_and_must_be_signed_as_the_manifest_is(
    store: Path, tmp_path: Path, signed: dict[str, Any]
) -> None:
    key, trusted = tmp_path / "mine", {"signature_policy": "strict", "allowed_signers": tmp_path / "mine.allowed"}
    assert run("store_verify", path=store, **trusted)["provenance"] == {}
    state(store)
    with pytest.raises(
        AnsibleActionFail, match=r"provenance\.json is not signed, .* Fetch with artifact_store_signing_"
    ):
        run("store_verify", path=store, **trusted)
    signature.sign(store, key, PROVENANCE)
    verified = run("store_verify", path=store, **trusted)
    assert verified["provenance"]["user"] == "kim"
    assert verified["msg"].endswith("signed by mine@example.com. Fetched by kim on fetch-01 at 1970-01-01T00:00:00Z")
    assert run("store_export", path=store, folder=tmp_path / "out", signing_key=key)["changed"]
    run("store_import", **signed, allowed_signers=tmp_path / "mine.allowed")
    assert tree(tmp_path / "new") == tree(store)
    assert run("store_contents", path=store)["contents"]["fetched"].startswith("Fetched by kim on fetch-01")
    assert run("store_prune", path=store, list_to=tmp_path / "prune.json")["files"] == []
    # Somebody else says that he fetched it.
    state(store, "robin")
    with pytest.raises(AnsibleActionFail, match=r"signature of .* does not match provenance\.json"):
        run("store_verify", path=store, **trusted)
    signature.sign(store, tmp_path / "foreign", PROVENANCE)
    with pytest.raises(AnsibleActionFail, match=r"provenance\.json is signed by a key that"):
        run("store_verify", path=store, **trusted)


def test_a_statement_about_another_manifest_is_refused(store: Path) -> None:
    state(store)
    assert run("store_verify", path=store)["provenance"]["user"] == "kim"
    write_store(store, {"wheels/a.whl": b"b", "kokoro/voices/v.pt": b"v"}, counter=2)
    with pytest.raises(AnsibleActionFail, match=r"No host was touched: .*provenance\.json is about the manifest"):
        run("store_verify", path=store)
    with pytest.raises(AnsibleActionFail, match=r"provenance\.json is about the manifest"):
        run("store_contents", path=store)


def test_the_report_names_components_that_advisories_name(store: Path) -> None:
    row = {"id": "A-1", "affected": [{"package": {"purl": "pkg:pypi/a-whl"}, "versions": ["1.0"]}]}
    data = advisories.Advisories("2026-11-20", (advisories.parse(row, "file"),)).to_bytes()
    assert run("store_contents", path=store)["affected"] == []
    write_store(store, {"wheels/a.whl": b"b", "advisories.json": data}, counter=2)
    manifest = json.loads((store / "manifest.json").read_text())
    for listed in manifest["artifacts"]:
        if listed["path"] == "advisories.json":
            listed.update(kind="advisories", name="OSV", version="2026-11-20", source="published")
            assert listed["sha256"] == sha256_bytes(data)
    (store / "manifest.json").write_text(json.dumps(manifest))
    done = run("store_contents", path=store)
    assert [(hit["component"], hit["version"], hit["id"]) for hit in done["affected"]] == [("a-whl", "1.0", "A-1")]
    assert "Advisories up to 2026-11-20 name 1 component of this store: a-whl 1.0 (A-1)." in done["lines"]
    (store / "advisories.json").write_bytes(b"{}")
    with pytest.raises(AnsibleActionFail, match="is not the file that the manifest lists"):
        run("store_contents", path=store)


def test_an_index_that_is_not_signed_or_was_altered_is_refused(
    store: Path, tmp_path: Path, signed: dict[str, Any]
) -> None:
    run("store_export", path=store, folder=tmp_path / "out")
    with pytest.raises(AnsibleActionFail, match=r"export\.json is not signed, .* Export with artifact_"):
        run("store_import", **signed, allowed_signers=tmp_path / "mine.allowed")
    run("store_export", path=store, folder=tmp_path / "out", signing_key=tmp_path / "mine")
    index = json.loads((tmp_path / "out/export.json").read_text())
    (tmp_path / "out/export.json").write_text(json.dumps({**index, "base": "0" * 64}))
    with pytest.raises(AnsibleActionFail, match=r"signature of .*out does not match export\.json"):
        run("store_import", **signed, allowed_signers=tmp_path / "mine.allowed")
    assert not (tmp_path / "new").exists()


def test_a_store_that_went_back_in_time_is_refused_until_it_is_accepted(store: Path, tmp_path: Path) -> None:
    old = (store / "manifest.json").read_bytes()
    assert run("store_verify", path=store)["manifest_sha256"]
    write_store(store, {"wheels/a.whl": b"a" * 1000, "kokoro/voices/v.pt": b"v"}, counter=2)
    run("store_verify", True, path=store)
    (store / "manifest.json").write_bytes(old)
    # Check mode remembered nothing.
    run("store_verify", path=store)
    write_store(store, {"wheels/a.whl": b"a" * 1000, "kokoro/voices/v.pt": b"v"}, counter=2)
    run("store_verify", path=store)
    (store / "manifest.json").write_bytes(old)
    with pytest.raises(AnsibleActionFail, match=r"No host was touched: .*went back in time: .*number 1 .*number 2"):
        run("store_verify", path=store)
    run("store_export", path=store, folder=tmp_path / "out")
    (store / "kokoro/voices/v.pt").unlink()
    write_store(store, {"wheels/a.whl": b"b"}, counter=3)
    run("store_verify", path=store)
    (store / "manifest.json").unlink()
    (store / "wheels/a.whl").unlink()
    with pytest.raises(AnsibleActionFail, match=r"Nothing was imported into .*number 3"):
        run("store_import", path=store, folder=tmp_path / "out")
    run("store_import", path=store, folder=tmp_path / "out", allow_older=True)
    run("store_verify", path=store)


def test_a_file_that_the_manifest_does_not_list_names_prune(store: Path) -> None:
    """A fetch of another selection leaves it, if the former manifest could not be read."""
    left = store / "spacy" / "en_core_web_sm-1.0.0.tar.gz"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"old")
    with pytest.raises(AnsibleActionFail) as caught:
        run("store_verify", path=store)
    assert "unlisted: spacy/en_core_web_sm-1.0.0.tar.gz (is not in the manifest; prune.yml removes it)" in str(
        caught.value
    )
    # Nothing is missing, so the failure of a missing model would mislead.
    assert "compatibility.json" not in str(caught.value)


def test_a_memory_that_cannot_be_written_is_a_warning(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VOICEFLEET_CACHE", str(tmp_path / "file"))
    assert not run("store_verify", path=store)["changed"]


def test_a_folder_that_cannot_be_written_is_reported(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnsibleActionFail, match="was not exported: Not a directory"):
        run("store_export", path=store, folder=tmp_path / "file" / "out")
    with pytest.raises(AnsibleActionFail, match="there is no store at"):
        run("store_export", path=tmp_path / "absent", folder=tmp_path / "out")


def test_prune_in_two_steps(store: Path, tmp_path: Path) -> None:
    list_file = tmp_path / "lists" / "prune.json"
    nothing = run("store_prune", path=store, list_to=list_file)
    assert (nothing["changed"], nothing["files"], nothing["list"]) == (False, [], "")
    (store / "notes.txt").write_text("mine")
    assert run("store_prune", True, path=store, list_to=list_file)["changed"]
    assert not list_file.exists()
    found = run("store_prune", path=store, list_to=list_file)
    assert found["files"] == [{"root": "store", "path": "notes.txt", "size": 4}]
    assert found["lines"][-1].endswith(f"-e artifact_store_prune_list={list_file}")
    assert not run("store_prune", path=store, list_to=list_file)["changed"]
    would = run("store_prune", True, path=store, list=list_file)
    assert (would["changed"], would["msg"]) == (True, "1 files would be removed, 4 B")
    assert (store / "notes.txt").exists()
    assert run("store_prune", path=store, list=list_file)["changed"]
    assert not (store / "notes.txt").exists()
    assert not run("store_prune", path=store, list=list_file)["changed"]


def test_a_refused_prune_names_the_reason(store: Path, tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="give either list_to"):
        run("store_prune", path=store)
    (store / "notes.txt").write_text("mine")
    run("store_prune", path=store, list_to=tmp_path / "prune.json")
    (store / "notes.txt").write_text("changed")
    with pytest.raises(AnsibleActionFail, match="Nothing was removed") as caught:
        run("store_prune", path=store, list=tmp_path / "prune.json")
    assert [row["kind"] for row in caught.value.result["findings"]] == ["changed"]
    assert (store / "notes.txt").exists()


def test_nothing_is_written_into_the_store_itself(store: Path) -> None:
    (store / "notes.txt").write_text("mine")
    before = tree(store)
    with pytest.raises(AnsibleActionFail, match="is inside the store"):
        run("store_prune", path=store, list_to=store / "prune.json")
    with pytest.raises(AnsibleActionFail, match="is inside the store"):
        run("store_contents", path=store, folder=store / "contents")
    assert tree(store) == before


def test_the_report_is_written_once(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    assert run("store_contents", True, path=store, folder=folder)["changed"]
    assert not folder.exists()
    done = run("store_contents", path=store, folder=folder)
    assert (done["changed"], done["msg"]) == (True, "2 files, 1.0 kB")
    assert json.loads((folder / "contents.json").read_text()) == done["contents"]
    assert "MADE-UP" in (folder / "contents.md").read_text()
    times = [os.stat(folder / name).st_mtime_ns for name in ("contents.md", "contents.json")]
    assert not run("store_contents", path=store, folder=folder)["changed"]
    assert [os.stat(folder / name).st_mtime_ns for name in ("contents.md", "contents.json")] == times
    assert not run("store_contents", path=store)["changed"]
    (tmp_path / "file").write_text("")
    with pytest.raises(AnsibleActionFail, match="cannot be written"):
        run("store_contents", path=store, folder=tmp_path / "file" / "x")


def play_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The shipped lock of the profile, with another version of jieba."""
    uv = tmp_path / "uv"
    uv.write_text("")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VOICEFLEET_CACHE", str(tmp_path / "cache"))

    def lock_of(_self: resolver.Resolver, profile: Profile) -> locks.Lock:
        lock = locks.read_lock(resolver.SHIPPED / Path(profile.lock_path).name)
        rows = (replace(row, version="0.1") if row.name == "jieba" else row for row in lock.packages)
        return replace(lock, packages=tuple(rows))

    monkeypatch.setattr(relock.make, "__defaults__", (*(relock.make.__defaults__ or ())[:-1], lock_of))


def test_new_locks_are_written_and_their_differences_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_lock(monkeypatch, tmp_path)
    planned = run("store_lock", True, locks=tmp_path / "locks")
    assert planned["changed"]
    assert not (tmp_path / "locks").exists()
    made = run("store_lock", locks=tmp_path / "locks")
    assert made["msg"] == "1 locks, 1 differences to the shipped ones, 0 repairs that do not fit"
    assert (made["changes"][0]["name"], made["changes"][0]["new"], made["unfit"]) == ("jieba", "0.1", [])
    assert made["diff"]["after"] == "jieba 0.1\n"
    assert any("jieba 0.1 (made with " in line for line in made["lines"])
    assert not run("store_lock", locks=tmp_path / "locks")["changed"]


def test_locks_that_cannot_be_made_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_lock(monkeypatch, tmp_path)
    said = r"^No lock was written to .*/locks: "
    with pytest.raises(AnsibleActionFail, match=said + r"xinference 2\.6\.0 is refused"):
        run("store_lock", locks=tmp_path / "locks", versions={"xinference": "2.6.0"})
    with pytest.raises(AnsibleActionFail, match=said + "profile cpu-py310-x86_64 is left out"):
        run("store_lock", locks=tmp_path / "locks", profiles=["cpu-py310-x86_64"])
    with pytest.raises(AnsibleActionFail, match=said + r"http://127\.0\.0\.1:1/kokoro/: "):
        run("store_lock", locks=tmp_path / "locks", index="http://127.0.0.1:1", versions={"kokoro": "1"})
    monkeypatch.setattr("sys.executable", str(tmp_path / "none" / "python"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AnsibleActionFail, match=said + "uv was not found"):
        run("store_lock", locks=tmp_path / "locks")
