#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: synthesis_check
short_description: Prove that the service speaks, and keep the evidence
description:
  - Requests a sentence from an OpenAI-style C(/v1/audio/speech) in every voice and format, and checks each answer.
  - Level V(format) means that the answer is a complete file of the requested format, 24 kHz, mono, and different from
    the other voices' answers.
  - Level V(acoustic) means that the audio is not silence, noise or a constant tone. It is not clipped, cut or looped,
    and its length fits the text.
  - Level V(phonemes) means that the release's own misaki makes the expected phonemes for each language. It must turn
    numbers and abbreviations into phonemes too. With invented words in a sentence, there must be more phonemes and
    longer audio. All phonemes of a sentence that is too long for Kokoro must reach the model.
  - Level V(intelligible) means that a recogniser hears the words of the text. C(pocketsphinx) in O(python) recognises
    English, word for word and without a network. The model O(transcriber) recognises other languages; without it they
    are UNVERIFIED.
  - Level V(performance) means that the endpoint meets O(limits), with one request at a time and with several at once.
    If the release is for a GPU, the GPU does the work.
  - Level V(offline) means that the service contacts nothing outside from its start to its first words. The check
    restarts the service, so O(restart) must allow it.
  - Level V(none) means that no complete file arrived. A check that could not run is UNVERIFIED and never counts as
    passed.
  - A server without a release of this collection is proved the same way, with O(release_id), O(voices) and
    O(endpoint). What needs a release or its service is UNVERIFIED there.
  - Sound files and C(proof.json) are kept in O(evidence_dir), in a folder with the release's name. Only root can read
    them.
  - If a kept proof has the same release, text, voices, formats and required level, and its files are unchanged, one
    short request shows that the model is alive. The module then returns the kept proof.
  - Fails if the lowest level of all is below O(required_level), and lists every finding. It still keeps the evidence.
  - In check mode, requests nothing and never fails the play.
  - An action plugin of the same name copies the WAV files to the controller and sets the fact C(voicefleet_synthesis).
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  endpoint:
    description: Where the server listens, without a path. Proxies are never used.
    type: str
    default: http://127.0.0.1:9997
  api_key_file:
    description: A file on the host that holds the raw bearer key. If unset, no key is sent.
    type: path
  candidate:
    description: Whether this is the trial of an upgrade, beside the service that clients use.
    type: bool
    default: false
  ca_file:
    description:
      - A PEM file on the host with the CA of the endpoint's certificate, such as that of a gateway.
      - If unset, the host's own CAs are used.
    type: path
  model:
    description: The model's name at the endpoint.
    type: str
    default: kokoro
  voices:
    description: Voices to try, by name. Empty means the voices that O(release_file) names.
    type: list
    elements: str
    default: []
  text:
    description:
      - The sentence. One or two words are too few to tell speech from noise. Instead of the default, a voice of another
        language than English says a sentence of its own language.
      - An answer of more than 300 seconds is refused and not decoded.
    type: str
    default: The quick brown fox jumps over the lazy dog.
  formats:
    description: Formats to try. Formats other than V(wav) need O(python) for the level V(acoustic).
    type: list
    elements: str
    choices: [wav, mp3, flac, ogg, opus]
    default: [wav, mp3]
  extra_formats:
    description:
      - Formats to try if the server has them. A format that the server lacks is reported as UNVERIFIED and does not
        count.
    type: list
    elements: str
    choices: [wav, mp3, flac, ogg, opus]
    default: []
  evidence_dir:
    description: The folder in which evidence is kept.
    type: path
    default: /var/lib/voicefleet-evidence
  release_id:
    description: The release to prove. If unset, O(release_file) names it.
    type: str
  release_file:
    description:
      - A release's C(release.json) on the host.
      - It gives the release's id, voices, sources, interpreter, profile and manifest, unless an option does.
    type: path
  unpublished:
    description: The paths of files that are not the published ones, each with its source. The result names them.
    type: dict
  required_level:
    description: The level that every voice must reach in every format.
    type: str
    choices: [format, acoustic, phonemes, intelligible, performance, offline]
    default: acoustic
  try_level:
    description:
      - The highest level to try, if it is above O(required_level). V(format) and V(acoustic) are always tried, because
        they need only the answers themselves. What was not tried is UNVERIFIED.
    type: str
    choices: [format, acoustic, phonemes, intelligible, performance, offline]
    default: acoustic
  transcriber:
    description:
      - The uid of a speech-to-text model, such as Whisper, at O(endpoint), for the level V(intelligible). The key must
        be valid for it. Empty means the model that hears of O(release_file), or else C(pocketsphinx), which knows only
        English.
    type: str
    default: ""
  word_error_rate:
    description:
      - The share of words in a transcription by O(transcriber) that may be wrong, from 0 to 1. Japanese and Chinese are
        counted by character.
    type: float
    default: 0.2
  requests:
    description: How many requests to measure one at a time, and how many with O(parallel) at once.
    type: int
    default: 10
  parallel:
    description: How many requests run at once in the second series of the level V(performance).
    type: int
    default: 4
  limits:
    description:
      - Limits that 95 of 100 requests must meet at the level V(performance). A number without a limit is only reported.
    type: dict
    default: {}
    suboptions:
      first_byte:
        description: Seconds until the first byte, one request at a time.
        type: float
      latency:
        description: Seconds until the last byte, one request at a time.
        type: float
      real_time_factor:
        description: The latency divided by the length of the audio, one request at a time.
        type: float
      parallel_first_byte:
        description: Like O(limits.first_byte), with O(parallel) requests at once.
        type: float
      parallel_latency:
        description: Like O(limits.latency), with O(parallel) requests at once.
        type: float
      parallel_real_time_factor:
        description: Like O(limits.real_time_factor), with O(parallel) requests at once.
        type: float
  unit:
    description:
      - The systemd unit of this host that answers at O(endpoint). If unset, the service's processes are not checked,
        neither on the GPU nor while the service starts.
    type: str
  gpu_indexes:
    description: The GPUs that the model must use, by nvidia-smi's index. Empty means any.
    type: list
    elements: int
    default: []
  restart:
    description:
      - Whether O(unit) may be restarted twice, which the level V(offline) needs. The service answers nobody while it
        starts and loads its models.
    type: bool
    default: false
  restart_seconds:
    description: How long the service may take from a restart to its first words.
    type: int
    default: 300
  lock_owner:
    description: The deploy that this proof belongs to, C(voicefleet_plan.lock). During another deploy nothing restarts.
    type: dict
  python:
    description:
      - An interpreter with C(soundfile) and C(pocketsphinx), to decode formats other than WAV and to recognise words.
      - It runs as the user C(nobody).
    type: path
  manifest_sha256:
    description: Digest of the release's manifest, for the evidence.
    type: str
  profile:
    description: The release's profile, for the evidence.
    type: str
  timeout:
    description: Seconds for one request.
    type: int
    default: 120
  refresh:
    description: Whether to prove everything again, even if evidence is kept.
    type: bool
    default: false
  textfile_dir:
    description:
      - The folder of node_exporter's textfile collector. C(voicefleet.prom) there reports the last proof and whether
        the host spoke just now. This does not count as a change of the host. If unset, nothing is written.
    type: path
  report_dir:
    description:
      - A folder on the controller for the WAV files, C(audio/<host>/<voice>.wav), and the result, C(hosts/<host>.json).
      - A relative path starts where C(ansible-playbook) was started. If unset, nothing is copied.
    type: path
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Prove that the release speaks
  voicefleet.kokoro.synthesis_check:
    release_id: "{{ voicefleet_plan.release.id }}"
    voices: "{{ voicefleet_plan.voices }}"
    unpublished: "{{ voicefleet_plan.unpublished }}"
    python: "{{ voicefleet_plan.release.path }}/env/bin/python"
    api_key_file: /etc/voicefleet/client.key

- name: Prove any OpenAI-style endpoint
  voicefleet.kokoro.synthesis_check:
    endpoint: https://speech.example.org
    api_key_file: /etc/speech.key
    model: tts-1
    release_id: tts-1
    voices: [alloy, nova]
    formats: [wav, mp3]
    extra_formats: [flac, opus]
    try_level: performance

- name: Prove again what was deployed some time ago
  voicefleet.kokoro.synthesis_check:
    release_file: /opt/voicefleet/current/release.json
    api_key_file: /etc/voicefleet/client.key
    refresh: true
"""

RETURN = r"""
level:
  description:
    - The lowest level of all voices and formats, V(none), V(format), V(acoustic), V(phonemes), V(intelligible),
      V(performance) or V(offline). A level counts only if all levels below it were reached.
  returned: always
  type: str
  sample: acoustic
release_id:
  description: The release.
  returned: always
  type: str
  sample: 1.2.3-3f9a1c2b7d5e
unpublished:
  description: The paths of files that are not the published ones, each with its source.
  returned: always
  type: dict
live:
  description: Whether one short request showed that the model is alive. The module then returns the kept proof.
  returned: always
  type: bool
live_seconds:
  description: How long that request took.
  returned: when RV(live) is true
  type: float
  sample: 0.41
proof:
  description: The kept proof on the host.
  returned: always
  type: str
  sample: /var/lib/voicefleet-evidence/1.2.3-3f9a1c2b7d5e/proof.json
time:
  description: When the proof was made, in UTC.
  returned: if there is a proof
  type: str
  sample: "2026-11-22T14:07:16Z"
samples:
  description: One entry for each voice in each format.
  returned: always
  type: list
  elements: dict
  contains:
    voice:
      description: The voice.
      type: str
    format:
      description: The format.
      type: str
    level:
      description: The level that this sample reached.
      type: str
    findings:
      description:
        - The checks, each with C(name), C(level), C(ok), C(value), C(limit) and C(sentence).
        - C(ok) is null if the check could not run.
      type: list
      elements: dict
    latency_seconds:
      description: From the request to the last byte.
      type: float
    audio_seconds:
      description: Length of the audio.
      type: float
    real_time_factor:
      description: Latency divided by the length of the audio. Below 1 is faster than real time.
      type: float
    bytes:
      description: Size of the answer.
      type: int
    sha256:
      description: Digest of the answer.
      type: str
    file:
      description: Where it is kept on the host.
      type: str
    measurements:
      description: The audio in numbers.
      type: dict
versions:
  description: Versions of Python, Xinference, Kokoro and their dependencies, if O(release_file) names them.
  returned: if there is a proof
  type: dict
  sample: {python: "3.11", xinference: 1.2.3, torch: 3.2.1}
findings:
  description: Findings on languages and on the host, in the form of the findings of RV(samples).
  returned: always
  type: list
  elements: dict
phonemes:
  description: One entry for each language, with C(language), C(name), C(ok) and C(lines), its texts and phonemes.
  returned: always
  type: list
  elements: dict
error_rates:
  description:
    - The mean share of wrong words by Kokoro's letter of the language, if Whisper listened. Japanese and Chinese are
      counted by character. Hindi that Whisper wrote in Urdu's script is counted by consonant.
  returned: if there is a proof
  type: dict
  sample: {a: 0.0, z: 0.031}
performance:
  description:
    - C(parallel) holds, for V(1) and for O(parallel) requests at once, C(first_byte), C(latency) and
      C(real_time_factor) in seconds, each with C(p50) and C(p95), and the numbers of C(requests) and C(errors).
  returned: always
  type: dict
  sample: {parallel: {"1": {latency: {p50: 0.41, p95: 0.52}, requests: 10, errors: 0}}}
offline:
  description: What the service tried to contact while it started. C(names), C(proxied), C(sockets). May be empty.
  returned: always
  type: dict
lines:
  description: The result in words.
  returned: always
  type: list
  elements: str
  sample: ["af_heart wav: acoustic, 3.10 s of audio in 1.02 s (real-time factor 0.33)"]
synthesis:
  description: The values above. The role synthesis sets them as C(voicefleet_synthesis).
  returned: success
  type: dict
  sample: {level: acoustic}
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, sources
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import ladder, proof, textfile
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import SpeechClient, SpeechError, read_key
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.terms import LEVELS
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state.kept import (
    OPTIONS,
    complete_from_release,
    kept_proof,
    result_of,
    still_live,
    wanted_of,
)

# A service that just started may not listen yet.
PATIENCE = 30.0


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        required_one_of=[["release_id", "release_file"]],
        supports_check_mode=True,
    )
    params = module.params
    try:
        complete_from_release(params)
    except ValueError as error:
        if module.check_mode and params["release_file"] and not os.path.exists(params["release_file"]):
            module.exit_json(changed=True, msg=f"Nothing to prove yet. {error}", level=LEVELS[0], samples=[], lines=[])
        module.fail_json(msg=str(error))
    wanted = wanted_of(params)
    faults = wanted.faults()
    if faults:
        module.fail_json(msg=" ".join(faults))
    evidence = proof.Evidence(params["evidence_dir"], wanted.release_id)
    try:
        check(module, wanted, evidence)
    except SpeechError as error:
        report = proof.as_report(wanted, [], params["unpublished"] or {}, {})
        tell_exporter(module, evidence.read() or report, None)
        module.fail_json(msg=diagnosis.explain(f"No speech: {error}"), **result_of(report, evidence))
    except OSError as error:
        module.fail_json(msg=f"The evidence cannot be kept: {error.strerror}: {error.filename}.")


def check(module: AnsibleModule, wanted: proof.Wanted, evidence: proof.Evidence) -> None:
    """Return the kept proof if the model is alive, or prove again; end the module. Raises SpeechError, OSError."""
    params = module.params
    kept = kept_proof(params, wanted, evidence)
    what = f"{len(wanted.voices)} voices in {', '.join(wanted.formats)}"
    if module.check_mode:
        report = kept or proof.as_report(wanted, [], params["unpublished"] or {}, {})
        todo = f"{evidence.proof} holds; it would send one short request" if kept else f"it would synthesise {what}"
        module.exit_json(changed=kept is None, msg=f"{wanted.release_id}: {todo}.", **result_of(report, evidence))
    if not params["candidate"]:
        deploy_lock.mark("proof")
    key = read_key(params["api_key_file"])
    client = SpeechClient(params["endpoint"], key, params["timeout"], PATIENCE, params["ca_file"])
    if kept is not None:
        live = still_live(client, wanted, evidence, kept)
        tell_exporter(module, kept, live["live_seconds"])
        module.exit_json(changed=False, **live)
    samples, answers = proof.prove(client, wanted, params["python"])
    place = ladder.Place(
        python=params["python"],
        profile=params["profile"],
        unit=params["unit"],
        gpu_indexes=tuple(params["gpu_indexes"]),
        restart=params["restart"],
        restart_seconds=params["restart_seconds"],
        language_models=params.get("language_models") or {},
        lock_owner=params["lock_owner"],
    )
    found = ladder.climb(client, wanted, samples, place)
    facts = {name: params[name] for name in ("profile", "manifest_sha256", "endpoint")}
    facts.update({"made": params.get("made"), "versions": params.get("versions") or {}})
    facts.update(found.facts())
    report = proof.as_report(wanted, samples, params["unpublished"] or {}, facts)
    before = evidence.read()
    evidence.write(report, answers)
    result = result_of(report, evidence)
    result["diff"] = {
        "before": "\n".join([*(proof.in_words(before) if before else []), ""]),
        "after": "\n".join([*result["lines"], ""]),
    }
    least = LEVELS.index(wanted.required_level)
    below = [sample for sample in samples if sample.offered and LEVELS.index(sample.level) < least]
    latencies = [sample.latency_seconds for sample in samples if sample.latency_seconds is not None]
    tell_exporter(module, report, max(latencies) if latencies and not below else None)
    if below:
        made_up = sources.of_voice(report["unpublished"]) == sources.MADE_UP
        other = "synthesis_text is another text" if wanted.text != proof.TEXT else "each voice says its own language"
        spoken = {wanted.text_of(voice) for voice in wanted.voices}
        hint = f"\nMade-up weights say only '{proof.TEXT}', but {other}." if made_up and spoken != {proof.TEXT} else ""
        kept_in = f" They are kept in {evidence.folder}." if answers else ""
        module.fail_json(
            changed=True,
            msg=f"{wanted.release_id}: {len(below)} of {len(samples)} samples did not reach the level"
            f" {wanted.required_level}.{kept_in}\n" + "\n".join(result["lines"]) + hint,
            **result,
        )
    said = f"{wanted.release_id}: {what} reached the level {report['level']}."
    if report["unpublished"]:
        said = f"{said} {sources.sentence(report['unpublished'])}"
    module.exit_json(changed=True, msg=said, **result)


def tell_exporter(module: AnsibleModule, report: dict[str, Any], seconds: float | None) -> None:
    """Write the proof for node_exporter. A failure is only a warning, because the proof does not need it."""
    folder = module.params["textfile_dir"]
    if not folder:
        return
    try:
        textfile.write(folder, textfile.render(report, seconds, time.time()))
    except OSError as error:
        module.warn(
            f"The proof was not written for node_exporter: {error.strerror}: {folder}. Set synthesis_textfile_dir to"
            " the folder of node_exporter's option --collector.textfile.directory."
        )


if __name__ == "__main__":
    main()
