# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolving locks: versions, age, extras, CPU builds, and the public addresses of files that were in a folder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks, resolver
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile

CPU, CUDA = Profile("cpu", "3.11", "x86_64"), Profile("cuda", "3.11", "x86_64")


def test_only_a_cpu_build_may_come_from_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "torch-1.2.3+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    file.write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    row = locks.LockedPackage("torch", "1.2.3+cpu", file.name, file.as_uri(), digest, 0)
    public = resolver.published(row)
    assert public.location == f"https://download.pytorch.org/whl/cpu/{file.name.replace('+', '%2B')}"
    assert public.size == 5
    file.write_bytes(b"other")
    with pytest.raises(locks.LockError, match="does not have the hash"):
        resolver.published(row)
    with pytest.raises(locks.LockError, match="is not a public file"):
        resolver.published(locks.LockedPackage("numpy", "2", file.name, file.as_uri(), digest, 0))


def test_the_pinned_cpu_build_makes_the_same_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the registry answers is played here; its CUDA packages go and the pinned wheel comes."""
    path = resolver.SHIPPED / Path(CPU.lock_path).name
    committed = locks.read_lock(path)
    cuda = [
        locks.LockedPackage(n, "13", f"{n}.whl", f"https://host/{n}", "0" * 64, 1) for n in ("nvidia-nvtx", "triton")
    ]
    version = str(committed.version_of("torch")).partition("+")[0]
    torch = locks.LockedPackage("torch", version, "torch.whl", "https://host/torch", "0" * 64, 1)
    others = [package for package in committed.packages if package.name != "torch"]

    def resolve(
        _self: resolver.Resolver,
        _profile: Profile,
        left_out: list[str],
        extras: Sequence[str],
        _pinned: locks.Lock | None = None,
    ) -> locks.Lock:
        extra = [] if "torch" in left_out else [*cuda, torch]
        asked = [replace(p, extras=()) for p in others if not p.extras or set(p.extras) & set(extras)]
        rows = sorted([*asked, *extra], key=lambda package: package.name)
        return locks.Lock(committed.requires_python, tuple(rows))

    monkeypatch.setattr(resolver.Resolver, "resolve", resolve)
    said: list[str] = []
    lock = resolver.Resolver("uv", say=said.append).lock_of(CPU)
    assert locks.render_lock(lock, CPU) == path.read_text()
    assert "using the one pinned here" in said[0]


def test_a_cpu_build_in_a_cuda_lock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = locks.LockedPackage("torch", "1.2.3+cpu", "torch.whl", "https://host/torch", "0" * 64, 1)
    monkeypatch.setattr(resolver.Resolver, "resolve", lambda *_arguments: locks.Lock("", (torch,)))
    with pytest.raises(locks.LockError, match="UV_DEFAULT_INDEX"):
        resolver.Resolver("uv").lock_of(CUDA)


def test_a_package_belongs_to_the_extras_that_need_it() -> None:
    needs = {"": ["kokoro", "regex"], "japanese": ["fugashi", "shared"], "mandarin": ["jieba", "shared", "regex"]}

    def lock(extras: Sequence[str]) -> locks.Lock:
        found = sorted({name for key in ("", *extras) for name in needs.get(key, [])})
        rows = (locks.LockedPackage(n, "1", f"{n}-1-py3-none-any.whl", f"https://h/{n}", "0" * 64, 1) for n in found)
        return locks.Lock("", tuple(rows))

    marked = resolver.marked(lock(["japanese", "mandarin"]), lock)
    assert {package.name: package.extras for package in marked.packages} == {
        "fugashi": ("japanese",), "jieba": ("mandarin",), "kokoro": (), "regex": (), "shared": ("japanese", "mandarin"),
    }  # fmt: skip


def package(name: str, version: str = "1.0", digest: str = "0") -> locks.LockedPackage:
    return locks.LockedPackage(name, version, f"{name}.whl", f"https://host/{name}.whl", digest * 64, 7)


def of(*packages: locks.LockedPackage) -> locks.Lock:
    return locks.Lock(">=3.11", packages)


def test_differences_name_added_removed_and_changed_packages() -> None:
    before, after = of(package("a"), package("b")), of(package("b", digest="1"), package("c"))
    assert [str(change) for change in resolver.differences(before, after)] == [
        "- a 1.0",
        "~ b 1.0 -> 1.0 (another file)",
        "+ c 1.0",
    ]
    assert resolver.differences(after, after) == []


def test_a_cpu_build_replaces_torch_and_drops_what_only_torch_required() -> None:
    cpu = locks.LockedPackage("torch", "1.0+cpu", "torch-1.0+cpu.whl", "https://host/cpu.whl", "1" * 64, 0)
    names = ("cuda-toolkit", "numpy", "nvidia-cudnn-cu13", "nvidia-ml-py", "sympy", "torch", "triton")
    without = of(package("numpy"), package("nvidia-ml-py"))
    lock = resolver.for_cpu(of(*map(package, names)), without, cpu)
    assert [p.name for p in lock.packages] == ["numpy", "nvidia-ml-py", "sympy", "torch"]
    assert lock.packages[-1] == cpu
    with pytest.raises(locks.LockError, match=r"are torch 1\.0, but the packages need 2\.0"):
        resolver.for_cpu(of(package("torch", "2.0")), without, cpu)


# --- what uv is asked


UV = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
asked = {{"arguments": arguments, "environment": dict(os.environ)}}
for name in arguments:
    if name.endswith((".in", ".txt")) and os.path.isfile(name):
        asked[os.path.basename(name)] = open(name).read()
open({record!r}, "a").write(json.dumps(asked) + "\\n")
if {error!r}:
    sys.exit({error!r})
open(arguments[arguments.index("--output-file") + 1], "w").write({lock!r})
"""
TORCH = """lock-version = "1.0"
[[packages]]
name = "torch"
version = "{version}"
[[packages.wheels]]
name = "torch-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
url = "https://k:s@host/torch?x=1"
hashes = {{ sha256 = "{digest}" }}
"""


def play_uv(folder: Path, version: str = "2.9.0+cpu", error: str = "") -> tuple[str, Path]:
    """A program that records what it is asked, and answers with a lock."""
    record, program = folder / "asked", folder / "uv"
    lock = TORCH.format(version=version, digest="0" * 64)
    program.write_text(UV.format(python=sys.executable, record=str(record), error=error, lock=lock))
    program.chmod(0o755)
    return str(program), record


def test_uv_gets_the_versions_the_age_and_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/srv/wheels")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    uv, record = play_uv(tmp_path)
    versions = {"xinference": "9.8.7", "torch": "2.9.0", "transformers": "6.5"}
    lock = resolver.Resolver(uv, versions, "2026-01-31T12:00:00Z", "https://mirror.example.com/simple").lock_of(CPU)
    assert lock.packages[0].location == "https://host/torch"
    asked = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(asked) == 5  # with all extras, with none, and with each
    assert ["--offline" in row["arguments"] for row in asked] == [False, True, True, True, True]
    arguments = " ".join(asked[0]["arguments"])
    assert "--exclude-newer 2026-01-31T12:00:00Z --exclude-newer-package torch=false" in arguments
    assert "--default-index https://mirror.example.com/simple" in arguments
    assert "xinference==9.8.7\n" in asked[0]["requirements.in"]
    assert "torch==2.9.0\n" in asked[0]["requirements.in"]
    assert "transformers==6.5\n" in asked[0]["pins.txt"]
    assert asked[0]["environment"]["UV_FIND_LINKS"] == "/srv/wheels"
    assert "torch==2.9.0+cpu\n" in asked[1]["pins.txt"]


def test_a_profile_for_gpus_sees_no_cpu_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in resolver.TORCH_VARIABLES:
        monkeypatch.setenv(name, "/srv/wheels")
    uv, record = play_uv(tmp_path, "2.9.0")
    resolver.Resolver(uv, until="2026-01-31T12:00:00Z").lock_of(CUDA)
    asked = json.loads(record.read_text().splitlines()[0])
    assert not set(resolver.TORCH_VARIABLES) & set(asked["environment"])
    assert "--exclude-newer-package" not in asked["arguments"]
    assert "--default-index" not in asked["arguments"]


def test_other_packages_keep_the_shipped_version_if_asked(tmp_path: Path) -> None:
    """uv takes the versions of its former output."""
    uv, record = play_uv(tmp_path)
    program = Path(uv).read_text().replace('"environment"', '"former": os.path.exists(output), "environment"')
    program = program.replace("asked = {", 'output = arguments[arguments.index("--output-file") + 1]\nasked = {', 1)
    Path(uv).write_text(program)
    for prefer in (True, False):
        record.unlink(missing_ok=True)
        resolver.Resolver(uv, prefer_shipped=prefer).lock_of(CPU)
        assert {json.loads(line)["former"] for line in record.read_text().splitlines()} == {prefer}


def test_the_index_is_asked_if_the_cache_lacks_something(tmp_path: Path) -> None:
    uv, record = play_uv(tmp_path)
    program = (
        Path(uv)
        .read_text()
        .replace("open(arguments[", 'if "--offline" in arguments:\n    sys.exit("no")\nopen(arguments[')
    )
    Path(uv).write_text(program)
    assert resolver.Resolver(uv).lock_of(CPU).version_of("torch") == "2.9.0+cpu"
    assert len(record.read_text().splitlines()) == 9


def test_what_uv_says_reaches_the_operator(tmp_path: Path) -> None:
    uv, _record = play_uv(tmp_path, error="No solution: kokoro needs misaki")
    with pytest.raises(locks.LockError, match=r"cpu-py311-x86_64 cannot be resolved\. uv says: No solution: kokoro"):
        resolver.Resolver(uv).lock_of(CPU)


def test_versions_replace_those_of_the_requirements_and_nothing_else() -> None:
    text = "# torch==1 in a comment\nMisaki[en]==0.1.2\nspacy>=3.8,<3.9\nsoundfile\n"
    found = resolver.with_versions(text, {"misaki": "1.0", "spacy": "3.7.5", "soundfile": "2"})
    assert found == "# torch==1 in a comment\nMisaki[en]==1.0\nspacy==3.7.5\nsoundfile==2\n"
    assert {"xinference", "kokoro", "torch", "spacy", "misaki", "fugashi"} <= resolver.required()
    for path in resolver.SHIPPED.glob("requirements*.in"):
        assert resolver.with_versions(path.read_text(), {}) == path.read_text()
