# SPDX-License-Identifier: GPL-3.0-or-later
"""The thin layer: exactly what the repair changed, the same each time."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import bake, thin

# Writes a package and its ledger, as the repair does.
PROGRAM = """
import json, os, sys
request = json.load(sys.stdin)
if request.get("fault"):
    print(json.dumps({"error": "there is no Xinference"}))
    sys.exit()
site = request["site"]
info = os.path.join(site, "kokoro-1.dist-info")
made = {"kokoro/__init__.py": "A = 1\\n", "kokoro-1.dist-info/uv_cache.json": "{}", "kokoro-1.dist-info/RECORD":
        "kokoro/__init__.py,,\\nkokoro-1.dist-info/uv_cache.json,,\\n"}
changes = [{"path": os.path.join(site, "kokoro")}, {"path": info}]
for name, text in made.items():
    os.makedirs(os.path.dirname(os.path.join(site, name)), exist_ok=True)
    open(os.path.join(site, name), "w").write(text)
    changes.append({"path": os.path.join(site, name)})
os.symlink("kokoro", os.path.join(site, "link"))
changes.append({"path": os.path.join(site, "link")})
changes.append({"path": os.path.join(site, "gone")})
ledger = os.path.join(site, "ledger.json")
json.dump({"changes": changes}, open(ledger, "w"))
print(json.dumps({"changed": ["install kokoro 1"], "ledger": ledger}))
"""


def test_the_layer_holds_what_the_repair_changed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    site = tmp_path / "site"
    made = []
    for _turn in range(2):
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir()
        (site / "other.py").write_text("B = 1\n")
        target = io.BytesIO()
        request = {"program": str(tmp_path / "program.py"), "apply": {"site": str(site)}, "time": 1_800_000_000}
        thin.make(request, target)
        made.append(target.getvalue())
    assert made[0] == made[1]
    with tarfile.open(fileobj=io.BytesIO(made[0])) as archive:
        names = [member.name.partition("/site/")[2] for member in archive.getmembers()]
        assert {member.uid for member in archive.getmembers()} == {os.geteuid()}
        record = next(member for member in archive.getmembers() if member.name.endswith("RECORD"))
        handle = archive.extractfile(record)
        assert handle is not None
        assert handle.read() == b"kokoro/__init__.py,,\n"
    assert [name for name in names if not name.endswith(".pyc")] == [
        "kokoro", "kokoro-1.dist-info", "kokoro-1.dist-info/RECORD", "kokoro/__init__.py", "kokoro/__pycache__", "link",
    ]  # fmt: skip
    assert len(names) == 7


def test_a_repair_that_fails_is_explained(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with pytest.raises(bake.BakeError, match="there is no Xinference"):
        thin.asked(str(tmp_path / "program.py"), {"fault": True})
    (tmp_path / "program.py").write_text("raise SystemExit('broken')")
    with pytest.raises(bake.BakeError, match="ended with status 1: broken"):
        thin.asked(str(tmp_path / "program.py"), json.loads("{}"))
