# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module synthesis_check is asked to prove, and the kept proof of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host import layout
from ..proof import performance, proof, recogniser
from ..proof.speech import SpeechClient
from ..proof.terms import LEVELS, versions_of
from ..xinference import config

Json = dict[str, Any]

# The options of the module synthesis_check.
OPTIONS: Json = {
    "endpoint": {"type": "str", "default": "http://127.0.0.1:9997"},
    "api_key_file": {"type": "path", "no_log": False},
    "candidate": {"type": "bool", "default": False},
    "ca_file": {"type": "path"},
    "model": {"type": "str", "default": "kokoro"},
    "voices": {"type": "list", "elements": "str", "default": []},
    "text": {"type": "str", "default": proof.TEXT},
    "formats": {"type": "list", "elements": "str", "choices": list(proof.FORMATS), "default": ["wav", "mp3"]},
    "extra_formats": {"type": "list", "elements": "str", "choices": list(proof.FORMATS), "default": []},
    "evidence_dir": {"type": "path", "default": layout.EVIDENCE},
    "release_id": {"type": "str"},
    "release_file": {"type": "path"},
    "unpublished": {"type": "dict"},
    "required_level": {"type": "str", "choices": list(LEVELS[1:]), "default": "acoustic"},
    "try_level": {"type": "str", "choices": list(LEVELS[1:]), "default": "acoustic"},
    "transcriber": {"type": "str", "default": ""},
    "word_error_rate": {"type": "float", "default": recogniser.WORD_ERROR_RATE},
    "requests": {"type": "int", "default": 10},
    "parallel": {"type": "int", "default": 4},
    "limits": {
        "type": "dict",
        "default": {},
        "options": {name: {"type": "float"} for name in performance.LIMITS},
    },
    "unit": {"type": "str"},
    "gpu_indexes": {"type": "list", "elements": "int", "default": []},
    "restart": {"type": "bool", "default": False},
    "restart_seconds": {"type": "int", "default": 300},
    "lock_owner": {"type": "dict"},
    "python": {"type": "path"},
    "manifest_sha256": {"type": "str"},
    "profile": {"type": "str"},
    "timeout": {"type": "int", "default": 120},
    "refresh": {"type": "bool", "default": False},
    "textfile_dir": {"type": "path"},
    "report_dir": {"type": "path"},
}


def complete_from_release(params: Json) -> None:
    """Fill missing parameters from the release file. Raises ValueError in a sentence."""
    if params["release_file"]:
        release = proof.read_release(params["release_file"])
        found = {
            "release_id": release["id"],
            "voices": release.get("voices"),
            "unpublished": release.get("unpublished"),
            "manifest_sha256": release.get("manifest_sha256"),
            "profile": release.get("profile"),
            "languages": release.get("languages"),
            "made": release.get("made"),
            "language_models": release.get("language_models"),
            "transcriber": config.HEARING_UID if release.get("hearing_model") else None,
            "versions": versions_of(release),
            "python": proof.interpreter_beside(params["release_file"]),
        }
        params.update({name: value for name, value in found.items() if not params.get(name)})
        params["voices"] = params["voices"] or []
    if not params["release_id"]:
        raise ValueError("Neither release_id nor release_file says which release to prove.")


def wanted_of(params: Mapping[str, Any]) -> proof.Wanted:
    """What to prove, from the options and the release."""
    return proof.Wanted(
        release_id=params["release_id"],
        model=params["model"],
        voices=list(dict.fromkeys(params["voices"])),
        formats=list(dict.fromkeys(params["formats"])),
        text=params["text"],
        required_level=params["required_level"],
        uids=config.uids(params["model"], params.get("languages") or [], params.get("language_models") or {}),
        extra_formats=list(dict.fromkeys(params["extra_formats"])),
        tried_level=params["try_level"],
        transcriber=params["transcriber"],
        word_error_rate=params["word_error_rate"],
        load=performance.Load(
            params["requests"],
            params["parallel"],
            {name: value for name, value in params["limits"].items() if value is not None},
        ),
    )


def kept_proof(params: Mapping[str, Any], wanted: proof.Wanted, evidence: proof.Evidence) -> Json | None:
    """The kept proof if it still counts. A repaired release keeps its name, but its proof is of the files before."""
    kept = None if params["refresh"] else evidence.holds(wanted)
    return kept if kept is not None and kept.get("made") == params.get("made") else None


def still_live(client: SpeechClient, wanted: proof.Wanted, evidence: proof.Evidence, kept: Json) -> Json:
    """The result for a kept proof, once a short request has shown that the model is alive. Raises SpeechError."""
    seconds = round(proof.still_alive(client, wanted), 3)
    said = f"{wanted.release_id} speaks; the proof of {kept['time']} holds, level {kept['level']}."
    return {**result_of(kept, evidence), "live": True, "live_seconds": seconds, "msg": said}


def result_of(report: Json, evidence: proof.Evidence) -> Json:
    """Return a proof as the module returns it."""
    return {**report, "live": False, "proof": evidence.proof, "lines": proof.in_words(report)}
