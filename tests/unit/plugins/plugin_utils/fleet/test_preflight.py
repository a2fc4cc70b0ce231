# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight reports all faults of a host or a store at once, with remedies."""

from __future__ import annotations

import copy
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.disk import UNPACKED
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patch_data, patches
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster, preflight
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.recorded_gpu import NO_CARD

PROFILE = "cpu-py311-x86_64"
PORTS = dict(zip(cluster.PORTS, (9997, 9998, 30001, 31001), strict=True))
NOW = 1_800_000_000.0


def artifact(path: str, kind: str, name: str, size: int = 1000, **changes: Any) -> Artifact:
    values = {"sha256": f"{abs(hash(path)):064x}"[:64], "version": "1", **changes}
    return Artifact(path, size=size, kind=kind, name=name, **values)


MANIFEST = Manifest(
    (
        artifact("locks/pylock.cpu-py311-x86_64.toml", "lock", PROFILE, profiles=(PROFILE,)),
        artifact("wheels/xinference.whl", "wheel", "xinference", 1_000_000, version="1.2.3", profiles=(PROFILE,)),
        artifact("spacy/en_core_web_sm-3.8.0.tar.gz", "spacy-model", "en_core_web_sm"),
        artifact("kokoro/Kokoro-82M/config.json", "kokoro-config", "config"),
        artifact("kokoro/Kokoro-82M/kokoro-v1_0.pth", "kokoro-weights", "weights", 300_000_000),
        artifact("kokoro/Kokoro-82M/voices/af_heart.pt", "kokoro-voice", "af_heart"),
        artifact("kokoro/Kokoro-82M/voices/af_sky.pt", "kokoro-voice", "af_sky"),
    ),
    (PROFILE,),
)
FACTS: dict[str, Any] = {
    "os": {"id": "debian", "version_id": "12", "pretty_name": "Debian 12", "id_like": ""},
    "architecture": "x86_64",
    "kernel": "6.1",
    "glibc": [2, 36],
    "root_user": True,
    "pythons": [{"path": "/usr/bin/python3.11", "version": "3.11.2"}],
    "filesystems": {
        "root": {"path": "/opt/voicefleet", "free": 50_000_000_000, "device": 1, "noexec": False},
        "home": {"path": "/var/lib/voicefleet", "free": 50_000_000_000, "device": 1, "noexec": False},
        "tmp": {"path": "/tmp", "free": 50_000_000_000, "device": 1, "noexec": False},
    },
    "memory": {"total": 16_000_000_000, "available": 12_000_000_000},
    "cpus": 8,
    "cpu_count": 8,
    "missing_instructions": [],
    "addresses": ["10.0.0.10", "127.0.0.1"],
    "nft": "/usr/sbin/nft",
    "listeners": [22],
    "systemd": {"running": True, "version": 252, "service_active": False},
    "releases": {"complete": [], "current": None},
    "candidate_left": False,
    "gateway": {"service": "", "running": False, "movable": False, "candidate": 0},
    "gap": None,
    "foreign": {},
    "candidate_foreign": [],
    "gpu": NO_CARD,
    "time": NOW,
}
# An upgrade: another release is current and serves.
UPGRADE = {
    "releases": {"complete": [], "current": "1.2.3-000000000000"},
    "systemd__service_active": True,
    "listeners": [22, 9997],
}


def wanted(**changes: Any) -> preflight.Wanted:
    values = {
        "languages": ["a"],
        "voices": ["af_heart"],
        "root": "/opt/voicefleet",
        "home": "/var/lib/voicefleet",
        "port": 9997,
    }
    return preflight.Wanted(**{**values, **changes})


class Judged:
    """A verdict with its plan in the form that roles see."""

    def __init__(self, verdict: preflight.Verdict) -> None:
        self.findings, self.failures, self.made = verdict.findings, verdict.failures, verdict.plan
        self.plan: dict[str, Any] = verdict.plan.as_dict() if verdict.plan else {}


def judge(
    manifest: Manifest = MANIFEST,
    ask: preflight.Wanted | None = None,
    held: dict[str, Any] | None = None,
    **changes: Any,
) -> Judged:
    """The verdict on the healthy host with some facts changed; a dotted key names a nested fact."""
    facts = copy.deepcopy(FACTS)
    for key, value in changes.items():
        target = facts
        *parents, last = key.split("__")
        for parent in parents:
            target = target[parent]
        target[last] = value
    held = held or {"missing": [row.sha256 for row in manifest.artifacts], "stale": [], "surplus": [], "arrived": 0}
    return Judged(preflight.judge(manifest, "d" * 64, "/srv/store", facts, held, ask or wanted(), NOW))


def without(*kinds: str, name: str | None = None) -> Manifest:
    return Manifest(
        tuple(a for a in MANIFEST.artifacts if a.kind not in kinds or (name is not None and a.name != name)), (PROFILE,)
    )


def test_a_healthy_host_gets_a_plan_and_no_finding() -> None:
    verdict = judge()
    assert verdict.findings == []
    plan = verdict.plan
    assert plan["profile"] == PROFILE
    assert plan["python"] == {"version": "3.11", "path": "/usr/bin/python3.11", "artifact": None}
    assert plan["release"]["id"].startswith("1.2.3-")
    assert plan["voices"] == ["af_heart"]
    assert [row["name"] for row in plan["artifacts"] if row["kind"] == "kokoro-voice"] == ["af_heart"]
    assert plan["bytes"] == sum(row["size"] for row in plan["artifacts"])
    assert len(plan["missing"]) == len(plan["artifacts"])


def test_a_finished_release_needs_no_bytes() -> None:
    identity = judge().plan["release"]["id"]
    plan = judge(releases={"complete": [identity], "current": identity}).plan
    assert plan["release"]["complete"]
    assert (plan["missing"], plan["bytes"], plan["current"]) == ([], 0, identity)


def test_a_drifted_release_is_not_complete_and_the_first_files_are_named() -> None:
    identity = judge().plan["release"]["id"]
    missing = {"count": 7, "first": ["env/bin/a", "env/bin/b"]}
    nothing = {"count": 0, "first": []}
    held = {
        "missing": [],
        "stale": [],
        "surplus": [],
        "arrived": 0,
        "drift": {identity: {"missing": missing, "changed": nothing, "added": nothing}},
    }
    # The disk needs no room for a second environment, because the first is removed.
    verdict = judge(held=held, releases={"complete": [identity], "current": identity}, filesystems__root__free=10**9)
    assert (verdict.plan["release"]["complete"], verdict.plan["release"]["drifted"]) == (False, True)
    (finding,) = verdict.findings
    assert (finding.level, finding.code) == ("WARN", "DRIFT")
    assert "7 missing (env/bin/a, env/bin/b, …)" in finding.cause
    assert "changed" not in finding.cause
    assert verdict.made is not None
    assert "to be repaired" in preflight.table(verdict.made)[0]


def test_the_release_that_a_host_gets_is_among_the_candidates() -> None:
    assert preflight.candidates(MANIFEST, wanted()) == [judge().plan["release"]["id"]]
    newer = [{"path": "/usr/bin/python3.13", "version": "3.13.5"}]
    both = {judge().plan["release"]["id"], judge(WITH_PYTHON, pythons=newer).plan["release"]["id"]}
    assert set(preflight.candidates(WITH_PYTHON, wanted())) == both
    assert preflight.candidates(MANIFEST, wanted(voices=["af_hart"])) == []
    assert preflight.candidates(MANIFEST, wanted(spacy_models=["en_core_web_tfr"])) == []


def test_bytes_that_already_arrived_need_no_space_again() -> None:
    plan = judge().plan
    held = {"missing": plan["missing"], "stale": [], "surplus": [], "arrived": plan["bytes"]}
    wheels = sum(row["size"] for row in plan["artifacts"] if row["kind"] == "wheel")
    free = int(UNPACKED * wheels) + preflight.HOME_BYTES
    assert [finding.code for finding in judge(filesystems__root__free=free).failures] == ["DISK"]
    assert judge(held=held, filesystems__root__free=free).failures == []


def test_the_table_lists_missing_stale_and_surplus_files() -> None:
    rows = {row.kind: row for row in MANIFEST.artifacts if row.name not in ("af_sky",)}
    held = {
        "missing": [rows["kokoro-weights"].sha256],
        "stale": [rows["wheel"].sha256],
        "surplus": [{"sha256": "e" * 64, "name": "old.whl", "size": 2_000_000}],
        "arrived": 0,
    }
    plan = judge(held=held).made
    assert plan is not None
    assert plan.bytes == 301_000_000
    lines = preflight.table(plan)
    assert "to send: 2 files, 301.0 MB" in lines
    assert [line.split()[0] for line in lines if line.startswith("  ")] == ["missing", "stale", "surplus"]
    assert any("kokoro-v1_0.pth" in line for line in lines)
    assert any("old.whl" in line for line in lines)


def test_no_named_voice_means_all_voices_of_the_store() -> None:
    assert judge(ask=wanted(voices=[])).plan["voices"] == ["af_heart", "af_sky"]


HOST_FAULTS = [
    ("NOT_ROOT", {"root_user": False}, "become"),
    ("SYSTEMD", {"systemd__running": False}, "first process"),
    ("SYSTEMD", {"systemd__version": 219}, "too old"),
    ("GLIBC", {"glibc": []}, "musl"),
    ("GLIBC", {"glibc": [2, 28]}, "2.29"),
    ("CPU", {"missing_instructions": ["popcnt", "sse4_2"]}, "lacks popcnt, sse4_2"),
    ("MEMORY", {"memory__total": 2_000_000_000}, "needs 4.0 GB"),
    ("PORT", {"listeners": [22, 9997]}, "ss -ltnp"),
    ("NOEXEC", {"filesystems__tmp__noexec": True}, "TMPDIR"),
    ("NOEXEC", {"filesystems__root__noexec": True}, "voicefleet_root"),
    ("NOEXEC", {"filesystems__home__noexec": True}, "xinference_home"),
    ("ARCHITECTURE", {"architecture": "aarch64"}, "artifact_store_profiles"),
    ("PYTHON", {"pythons": [{"path": "/usr/bin/python3.13", "version": "3.13.1"}]}, "3.10, 3.11 or 3.12"),
    ("PYTHON", {"pythons": []}, "python3.11"),
    ("DISK", {"filesystems__root__free": 1_000_000}, "are free"),
]


@pytest.mark.parametrize(("code", "changes", "words"), HOST_FAULTS, ids=[f"{c}-{w}" for c, _f, w in HOST_FAULTS])
def test_a_fault_of_the_host_is_reported(code: str, changes: dict[str, Any], words: str) -> None:
    failures = judge(**changes).failures
    assert [failure.code for failure in failures] == [code]
    assert words in str(failures[0])
    assert failures[0].remedy


def test_fapolicyd_is_a_warning_until_the_service_runs() -> None:
    def said(**changes: Any) -> str:
        return " ".join(str(finding) for finding in judge(**changes).findings if finding.code == "FAPOLICYD")

    assert "dir=/opt/voicefleet/" in said(fapolicyd=True, systemd__service_active=False)
    assert said(fapolicyd=True, systemd__service_active=True) == ""
    assert said(fapolicyd=False) == ""


def test_all_faults_are_reported_at_once() -> None:
    verdict = judge(root_user=False, glibc=[2, 17], listeners=[9997], pythons=[], memory={"total": 1, "available": 1})
    assert {failure.code for failure in verdict.failures} == {"NOT_ROOT", "GLIBC", "PORT", "PYTHON", "MEMORY"}


def test_a_swarm_needs_a_store_with_an_engine_and_other_transports_do_not() -> None:
    (found,) = judge(ask=wanted(transport="swarm")).failures
    assert found.code == "SWARM"
    assert "artifact_store_swarm: true" in found.remedy
    assert "artifacts_transport: push" in found.remedy
    for transport in ("push", "rsync", "connection", "http", "auto"):
        assert judge(ask=wanted(transport=transport)).findings == []
    engine = Artifact("engine/e.whl", "e" * 64, 1, "engine", "libtorrent", "1")
    carried = judge(replace(MANIFEST, artifacts=(*MANIFEST.artifacts, engine)), wanted(transport="swarm"))
    assert carried.findings == []
    assert carried.plan["release"]["id"] == judge().plan["release"]["id"]


def test_our_own_service_may_hold_the_port() -> None:
    assert judge(listeners=[9997], systemd={"running": True, "version": 252, "service_active": True}).findings == []


def test_a_wrong_clock_is_a_warning() -> None:
    verdict = judge(time=NOW - 3600)
    assert [(f.level, f.code) for f in verdict.findings] == [("WARN", "CLOCK")]
    assert verdict.plan


def test_space_is_summed_if_one_disk_holds_both_folders() -> None:
    free = 1_200_000_000
    assert [f.code for f in judge(filesystems__root__free=free, filesystems__home__free=free).failures] == ["DISK"]
    apart = judge(filesystems__root__free=free, filesystems__home__free=free, filesystems__home__device=2)
    assert apart.failures == []


def test_a_root_too_deep_for_espeak_is_refused() -> None:
    verdict = judge(ask=wanted(root="/" + "x" * 90))
    assert [f.code for f in verdict.failures] == ["PATH_LENGTH"]


def test_a_home_too_deep_for_sockets_is_refused() -> None:
    assert judge(ask=wanted(home="/" + "x" * 49)).failures == []
    (failure,) = judge(ask=wanted(home="/" + "é" * 25)).failures
    assert failure.code == "PATH_LENGTH"
    assert "xinference_home" in failure.remedy


def test_a_missing_spacy_tarball_is_reported_with_reason_and_remedy() -> None:
    (failure,) = judge(without("spacy-model")).failures
    assert failure.code == "SPACY_MODEL"
    for words in ("spacy/en_core_web_sm-3.8.0.tar.gz", "misaki", "compatibility.json", "fetch.yml"):
        assert words in str(failure)


def test_spanish_needs_no_spacy_model() -> None:
    spanish = artifact("kokoro/Kokoro-82M/voices/ef_dora.pt", "kokoro-voice", "ef_dora")
    manifest = Manifest((*without("spacy-model").artifacts, spanish), (PROFILE,))
    assert judge(manifest, wanted(languages=["e"], voices=[])).failures == []


def test_a_missing_voice_is_reported_with_those_of_the_store() -> None:
    (failure,) = judge(without("kokoro-voice", name="af_heart")).failures
    assert failure.code == "VOICE_MISSING"
    assert "voices/af_heart.pt" in str(failure)
    assert "af_sky" in str(failure)


def test_an_unknown_voice_is_reported_with_the_nearest_names() -> None:
    (failure,) = judge(ask=wanted(voices=["af_hart"])).failures
    assert "did you mean af_heart" in str(failure)


def test_missing_weights_are_reported() -> None:
    assert [f.code for f in judge(without("kokoro-weights")).failures] == ["KOKORO"]


def test_stand_ins_are_refused_unless_accepted() -> None:
    rows = tuple(
        artifact(
            a.path,
            a.kind,
            a.name,
            a.size,
            source="made-up" if a.kind == "kokoro-weights" else "published",
            profiles=a.profiles,
            version=a.version,
        )
        for a in MANIFEST.artifacts
    )
    manifest = Manifest(rows, (PROFILE,))
    (failure,) = judge(manifest).failures
    assert failure.code == "UNPUBLISHED"
    assert "this audio is not Kokoro's voice" in str(failure)
    accepted = judge(manifest, wanted(accept_unpublished=True))
    assert accepted.findings == []
    assert accepted.plan["unpublished"] == {"kokoro/Kokoro-82M/kokoro-v1_0.pth": "made-up"}


def test_the_newest_python_that_a_profile_suits_is_chosen() -> None:
    manifest = Manifest(MANIFEST.artifacts, (PROFILE, "cuda-py310-x86_64"))
    pythons = [{"path": f"/usr/bin/python3.{m}", "version": f"3.{m}.1"} for m in (9, 10, 11, 13)]
    assert judge(manifest, pythons=pythons).plan["python"]["version"] == "3.11"


CARRIED = artifact(
    "python/cpython-3.11.1+20300101.tar.gz", "python", "cpython-3.11", version="3.11.1+20300101", profiles=(PROFILE,)
)
WITH_PYTHON = Manifest((*MANIFEST.artifacts, CARRIED), (PROFILE,))


def test_a_host_with_only_a_newer_python_gets_the_stores() -> None:
    newer = [{"path": "/usr/bin/python3.13", "version": "3.13.5"}]
    assert [finding.code for finding in judge(pythons=newer).findings] == ["PYTHON"]
    assert "artifact_store_pythons" in str(judge(pythons=newer).findings[0])
    verdict = judge(WITH_PYTHON, pythons=newer)
    assert verdict.findings == []
    assert verdict.plan["python"] == {
        "version": "3.11",
        "path": "/opt/voicefleet/tools/python-3.11.1+20300101/bin/python3.11",
        "artifact": CARRIED.sha256,
    }
    assert CARRIED.sha256 in verdict.plan["missing"]
    assert verdict.plan["release"]["id"] != judge().plan["release"]["id"]


def test_a_host_with_a_python_that_fits_keeps_it_and_its_release() -> None:
    plan = judge(WITH_PYTHON).plan
    assert plan["python"]["artifact"] is None
    assert not [row for row in plan["artifacts"] if row["kind"] == "python"]
    assert plan["release"]["id"] == judge().plan["release"]["id"]


def test_a_named_spacy_model_is_installed_or_reported_as_missing() -> None:
    model = artifact("spacy/en_core_web_trf-3.8.0.tar.gz", "spacy-model", "en_core_web_trf")
    names = ["en_core_web_trf"]
    missed = judge(ask=wanted(spacy_models=names)).findings
    assert [(f.code, model.path in f.cause) for f in missed] == [("SPACY_MODEL", True)]
    manifest = Manifest((*MANIFEST.artifacts, model), (PROFILE,))
    plan = judge(manifest, wanted(spacy_models=names)).plan
    assert [r["name"] for r in plan["artifacts"] if r["kind"] == "spacy-model"] == ["en_core_web_sm", *names]
    assert "en_core_web_trf" not in {row["name"] for row in judge(manifest).plan["artifacts"]}
    assert "spacy_models_extra may name" in str(judge(ask=wanted(spacy_models=["en_core_web_tfr"])).findings[0])


def test_an_upgrade_tries_a_candidate_beside_the_current_release() -> None:
    verdict = judge(**UPGRADE)
    assert verdict.findings == []
    assert verdict.plan["candidate"] == {
        "wanted": True,
        "left": False,
        "answers": False,
        "stays": False,
        "gap": "no gateway of this collection is in front of it. A restart takes 20 to 100 s.",
        "unit": "voicefleet-candidate.service",
        "home": "/var/lib/voicefleet-candidate",
        "account_home": "/var/lib/voicefleet",
        "secrets_dir": "/etc/voicefleet-candidate",
        "service_secrets": "/etc/voicefleet",
        "port": 9998,
    }


def test_the_candidates_port_is_the_next_free_or_the_configured_one() -> None:
    busy = {**UPGRADE, "listeners": [9997, 9998, 9999]}
    assert judge(**busy).plan["candidate"]["port"] == 10000
    assert judge(ask=wanted(candidate_port=12000), **busy).plan["candidate"]["port"] == 12000


def test_no_candidate_is_tried_if_nothing_serves_or_nothing_is_new() -> None:
    identity = judge().plan["release"]["id"]
    same = {**UPGRADE, "releases": {"complete": [identity], "current": identity}}
    for changes in ({}, same, {**UPGRADE, "systemd__service_active": False, "listeners": [22]}):
        verdict = judge(ask=wanted(candidate="always"), memory__available=1, **changes)
        assert (verdict.plan["candidate"]["wanted"], verdict.findings) == (False, [])


def test_no_candidate_is_tried_if_the_operator_says_never() -> None:
    verdict = judge(ask=wanted(candidate="never"), memory__available=1, **UPGRADE)
    assert (verdict.plan["candidate"]["wanted"], verdict.findings) == (False, [])


@pytest.mark.parametrize(
    ("changes", "ask", "words"),
    [
        ({"memory__available": 2_400_000_000}, {}, "2.4 GB of memory are free, it needs 2.5 GB"),
        ({"listeners": [9997, 12000]}, {"candidate_port": 12000}, "port 12000 is taken"),
        ({}, {"candidate_port": 9997}, "port 9997 is taken"),
        ({}, {"home": "/srv/" + "h" * 40}, "more than 50 characters"),
    ],
)
def test_a_host_without_memory_for_a_candidate_is_warned_or_refused(
    changes: dict[str, Any], ask: dict[str, Any], words: str
) -> None:
    verdict = judge(ask=wanted(**ask), **{**UPGRADE, **changes})
    assert not verdict.plan["candidate"]["wanted"]
    assert [(finding.level, finding.code) for finding in verdict.findings] == [("WARN", "CANDIDATE")]
    assert words in verdict.findings[0].cause
    assert "Clients have an outage" in verdict.findings[0].remedy
    strict = judge(ask=wanted(candidate="always", **ask), **{**UPGRADE, **changes})
    assert [finding.code for finding in strict.failures] == ["CANDIDATE"]


GATEWAY = {"service": "127.0.0.1:9997", "running": True, "movable": True, "candidate": 0}
BEHIND = {**UPGRADE, "gateway": GATEWAY}


def planned(same: bool = False, **changes: Any) -> tuple[bool, bool, str]:
    """Whether a candidate is tried and stays, and why there is a gap. With ``same``, the release is already current."""
    ask = wanted(service="127.0.0.1:9997", **changes.pop("ask", {}))
    if same:
        changes |= {"releases": {"complete": [], "current": judge().plan["release"]["id"]}, "gap": 22.6}
    found = judge(ask=ask, **{**BEHIND, **changes}).plan["candidate"]
    return found["wanted"], found["stays"], found["gap"]


def test_behind_a_gateway_a_candidate_answers_while_the_service_restarts() -> None:
    assert planned() == (True, True, "")
    assert planned(same=True) == (False, True, "")


@pytest.mark.parametrize(
    ("changes", "why", "tried"),
    [
        ({"gateway": {**GATEWAY, "running": False}}, "no gateway of this collection is in front of it", True),
        ({"gateway": {**GATEWAY, "service": "127.0.0.1:9990"}}, "no gateway of this collection", True),
        ({"gateway": {**GATEWAY, "movable": False}}, "an older version made its gateway (run gateway.yml)", True),
        ({"memory__available": 3_900_000_000}, "3.9 GB of memory are free, a second instance needs 4.0 GB", True),
        ({"memory__available": 2_400_000_000}, "2.4 GB of memory are free, it needs 2.5 GB", False),
        ({"ask": {"candidate": "never"}}, "xinference_candidate is never", False),
    ],
)
def test_without_a_second_instance_the_gap_is_announced(changes: dict[str, Any], why: str, tried: bool) -> None:
    wants, stays, gap = planned(**copy.deepcopy(changes))
    assert (wants, stays) == (tried, False)
    assert gap.startswith(why)
    assert gap.endswith(". A restart takes 20 to 100 s.")
    assert planned(same=True, **changes) == (
        False,
        False,
        gap.replace("A restart takes 20 to 100", "The last one took 23"),
    )


def test_nobody_waits_for_a_service_that_does_not_run() -> None:
    assert planned(systemd__service_active=False, listeners=[22]) == (False, False, "")
    assert planned(releases={"complete": [], "current": None}) == (False, False, "")


def test_a_leftover_candidate_that_answers_clients_goes_on_until_the_service_is_proved() -> None:
    left = {"gateway": {**GATEWAY, "candidate": 9998}, "candidate_left": True, "memory__available": 1}
    for more in ({}, {"systemd__service_active": False, "listeners": [9998]}):
        candidate = judge(ask=wanted(candidate="always"), **{**UPGRADE, **left, **more}).plan["candidate"]
        assert (candidate["answers"], candidate["stays"], candidate["wanted"]) == (True, True, False)
        assert candidate["port"] == 9998
    gone = judge(ask=wanted(), **{**BEHIND, **left, "candidate_left": False}).plan["candidate"]
    assert (gone["left"], gone["answers"]) == (True, False)


def test_a_leftover_candidate_does_not_block_an_upgrade() -> None:
    candidate = judge(ask=wanted(candidate_port=9998), **{**UPGRADE, "listeners": [9997, 9998], "candidate_left": True})
    assert candidate.findings == []
    assert (candidate.plan["candidate"]["left"], candidate.plan["candidate"]["wanted"]) == (True, True)


def test_repairs_of_files_are_part_of_the_release() -> None:
    repairs = patches.choose(["kokoro-eval"])
    bare, repaired = judge(ask=wanted()).plan, judge(ask=wanted(patches=repairs)).plan
    assert bare["patches"] == []
    assert repaired["patches"] == [repairs[0].as_dict()]
    assert bare["release"]["id"] != repaired["release"]["id"]
    assert preflight.candidates(MANIFEST, wanted(patches=repairs)) == [repaired["release"]["id"]]


# --- a cluster

MEMBERS = cluster.Cluster(cluster.Member("s", "10.0.0.10", PORTS), (cluster.Member("w", "10.0.0.11", PORTS),))


def test_repairs_that_do_not_fit_the_stores_packages_are_refused_before_anything_changes(tmp_path: Path) -> None:
    """A wheel that the repairs were tried with is not opened."""
    (eval_repair, words) = (patches.CATALOGUE[name] for name in ("kokoro-eval", "kokoro-words"))
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr(eval_repair.file, "another version")
    row = artifact("x.whl", "wheel", "xinference")
    (found,) = preflight.check_repairs(tmp_path, [row], [eval_repair, words])
    assert (found.level, found.code) == ("FAIL", "REPAIRS")
    assert found.cause == "the repairs kokoro-eval do not fit the packages of the store."
    assert "preflight_patches: [kokoro-words, serving-model" in found.remedy
    assert preflight.check_repairs(tmp_path, [row], [words]) == []
    known = replace(row, sha256=patch_data.WHEELS["xinference"])
    assert preflight.check_repairs(tmp_path, [known], [eval_repair]) == []


def member(name: str = "s", **changes: Any) -> preflight.Wanted:
    return wanted(host=name, cluster=MEMBERS, **changes)


def test_a_member_of_a_cluster() -> None:
    assert judge(ask=member()).findings == []
    assert judge(ask=member("w"), addresses=["10.0.0.11"], cpu_count=1).findings == []


@pytest.mark.parametrize(
    ("name", "changes", "code", "said"),
    [
        ("s", {"cpu_count": 2}, "CLUSTER_CPUS", "has 2 CPUs and needs 4"),
        ("w", {}, "CLUSTER_ADDRESS", "10.0.0.11 is none of the host's own addresses (10.0.0.10)"),
        ("s", {"nft": None}, "CLUSTER_NFT", "nft is not installed"),
        ("s", {"listeners": [9998]}, "PORT", "listens on port 9998"),
        ("w", {"addresses": ["10.0.0.11"], "listeners": [31001]}, "PORT", "listens on port 31001"),
    ],
)
def test_obstacles_to_a_member_are_reported(name: str, changes: dict[str, Any], code: str, said: str) -> None:
    [finding] = judge(ask=member(name), **changes).failures
    assert finding.code == code
    assert said in finding.cause
    assert judge(**changes).failures == []


def test_an_open_node_without_a_packet_filter_is_a_warning() -> None:
    assert [(f.level, f.code) for f in judge(ask=wanted(open=True), nft=None).findings] == [("WARN", "OPEN_PORTS")]
    assert judge(ask=wanted(open=True)).findings == []
    assert judge(ask=wanted(), nft=None).findings == []


def test_tests_may_lower_the_number_of_cpus() -> None:
    assert judge(ask=member(supervisor_cpus=2), cpu_count=2).findings == []


def test_ports_are_the_services_own_while_it_runs() -> None:
    assert judge(ask=member(), listeners=[9997, 9998], systemd__service_active=True).failures == []


def test_mistakes_of_the_inventory_are_findings() -> None:
    found = judge(ask=wanted(host="s", cluster_faults=["no worker.", "no address."])).failures
    assert [(finding.code, finding.cause) for finding in found] == [
        ("CLUSTER", "no worker."),
        ("CLUSTER", "no address."),
    ]


SUPERVISOR = {**UPGRADE, "listeners": [22, 9997, 9998]}
WORKER = {**UPGRADE, "addresses": ["10.0.0.11"], "listeners": [22, 30001]}
CLUSTER_GATEWAY = {"service": "10.0.0.10:9997", "running": True, "movable": True, "candidate": 0}


def test_the_candidate_of_a_cluster_is_on_the_supervisors_host() -> None:
    verdict = judge(ask=member(service="10.0.0.10:9997"), gateway=CLUSTER_GATEWAY, **SUPERVISOR)
    assert verdict.findings == []
    candidate = verdict.plan["candidate"]
    # Not 9998, the supervisor's port for its workers.
    assert (candidate["wanted"], candidate["stays"], candidate["gap"], candidate["port"]) == (True, True, "", 9999)
    alone = judge(ask=member(service="10.0.0.10:9997"), **SUPERVISOR).plan["candidate"]
    assert (alone["wanted"], alone["stays"]) == (True, False)
    assert alone["gap"].startswith("no gateway of this collection is in front of it")


def test_the_candidate_of_a_cluster_takes_no_port_that_a_member_wants() -> None:
    """The supervisor that runs may still have another port."""
    assert judge(ask=member(), **UPGRADE).plan["candidate"]["port"] == 9999
    taken = judge(ask=member(candidate_port=9998), **UPGRADE)
    assert "port 9998 is taken" in taken.findings[0].cause


@pytest.mark.parametrize("candidate", ["auto", "always", "never"])
def test_a_worker_has_no_candidate(candidate: str) -> None:
    verdict = judge(ask=member("w", candidate=candidate), memory__available=1, **WORKER)
    assert verdict.findings == []
    found = verdict.plan["candidate"]
    assert (found["wanted"], found["stays"], found["gap"]) == (False, False, "")


def test_a_supervisor_without_room_for_a_candidate_is_warned_or_refused() -> None:
    verdict = judge(ask=member(), memory__available=1, **SUPERVISOR)
    assert not verdict.plan["candidate"]["wanted"]
    assert [(f.level, f.code) for f in verdict.findings] == [("WARN", "CANDIDATE")]
    strict = judge(ask=member(candidate="always"), memory__available=1, **SUPERVISOR)
    assert [(f.level, f.code) for f in strict.findings] == [("FAIL", "CANDIDATE")]
    assert judge(ask=member(candidate="never"), memory__available=1, **SUPERVISOR).findings == []


def test_a_supervisor_that_computes_nothing_has_no_candidate_on_a_gpu() -> None:
    def obstacles(works: bool) -> list[str]:
        members = replace(MEMBERS, workers=(*MEMBERS.workers, MEMBERS.supervisor), works=works)
        facts = {**copy.deepcopy(FACTS), **SUPERVISOR, "systemd": {**FACTS["systemd"], "service_active": True}}
        ask = wanted(host="s", cluster=members)
        return [f.cause for f in preflight.choose_candidate(facts, ask, "1.2.3-1", preflight.Accelerator("cuda"))[1]]

    assert obstacles(works=True) == []
    assert "the release computes on GPUs, and the supervisor computes nothing" in obstacles(works=False)[0]


def test_a_folder_or_account_of_others_is_refused() -> None:
    verdict = judge(foreign={"voicefleet_root": "/opt is shared.", "xinference_user": "www-data is another's."})
    assert [(f.code, f.cause) for f in verdict.failures] == [
        ("OWNERSHIP", "/opt is shared."),
        ("OWNERSHIP", "www-data is another's."),
    ]
    assert "voicefleet_root" in verdict.failures[0].remedy


def test_every_folder_of_the_collection_is_asked_about() -> None:
    places = wanted(secrets="/etc/x", evidence="/srv/e").places
    assert places["xinference_secrets_dir"] == "/etc/x"
    assert places["synthesis_evidence_dir"] == "/srv/e"
    assert {"voicefleet_root", "xinference_home", "xinference_worker_home"} < set(places)


def test_a_folder_of_others_with_the_candidates_name_prevents_a_candidate() -> None:
    verdict = judge(**{**UPGRADE, "candidate_foreign": ["/var/lib/voicefleet-candidate holds files (a)."]})
    assert not verdict.plan["candidate"]["wanted"]
    assert "/var/lib/voicefleet-candidate holds files" in verdict.findings[-1].cause
