# SPDX-License-Identifier: GPL-3.0-or-later
"""The last step of bin/quickstart: try the curl line, print the result, and write result.json.

result.json has `release`, `proof_level`, `source` (published, converted or made-up), `unpublished` (the source of each
file that is not the published one), `wav` and `report` (paths), `curl`, and `seconds` by step and by "Deploy: <role>".
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# bin/lib.sh makes the checkout a collection tree there.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".cache" / "tree"))
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import sources

TEXT = "The quick brown fox jumps over the lazy dog."
ENDPOINT = "http://127.0.0.1:9997/v1/audio/speech"
# One sentence takes a few seconds, on a busy machine a minute.
CURL_SECONDS = 300
# What a level shows about the audio, and what it does not.
MEANS = {
    "none": "nothing was proved",
    "format": "every voice answered with a whole 24 kHz file; whether it is speech is not known",
    "acoustic": "every voice answered with audio that measures as speech; whether the words are right is UNVERIFIED",
    "phonemes": "the audio is speech, and no word is lost before the model; whether words are heard is UNVERIFIED",
    "intelligible": "a recogniser on the host heard the sentence from every voice, word for word",
    "performance": "a recogniser heard the sentence from every voice, as fast as was required",
    "offline": "a recogniser heard the sentence, as fast as was required, and nothing outside was contacted",
}


def curl_line(host: str, voice: str, text: str = TEXT) -> str:
    """The command that speaks what stands between its first and its last line, whatever characters that has.

    The key stays in its root-only file on the host: it is no argument, and nothing prints it.
    """
    given = f"model='kokoro', voice='{voice}', response_format='wav', input=sys.stdin.read().strip()"
    body = f'python3 -c "import json, sys; print(json.dumps(dict({given})))"'
    header = "-H @/etc/voicefleet/client.header -H 'Content-Type: application/json'"
    curl = f"docker exec -i {host} curl -sS --fail-with-body {header} {ENDPOINT} -d @- > speech.wav"
    return f"{body} <<'TEXT' | {curl}\n{text}\nTEXT"


def try_curl(line: str) -> int:
    """Run the line as it will be printed. Return the size of speech.wav in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["timeout", str(CURL_SECONDS), "bash", "-c", line]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        data = Path(folder, "speech.wav").read_bytes()
    if ran.returncode or data[:4] != b"RIFF":
        raise SystemExit(f"The curl line does not work: {ran.stderr}{data[:300].decode(errors='replace')}\n{line}")
    return len(data)


def main() -> int:
    folder, host = Path(sys.argv[1]), sys.argv[2]
    reports = folder / "reports"
    proof: dict[str, Any] = json.loads((reports / "hosts" / f"{host}.json").read_text())["synthesis"]
    deploy = json.loads((folder / "deploy.json").read_text())
    rows = [line.split("\t") for line in (folder / "steps.tsv").read_text().splitlines()]
    seconds = {name: float(value) for name, value in rows}
    seconds |= {f"Deploy: {role}": value for role, value in deploy["phases"].items()}
    voice = proof["samples"][0]["voice"]
    line = curl_line(host, voice)
    result = {
        "release": proof["release_id"],
        "proof_level": proof["level"],
        "source": sources.of(proof["unpublished"]),
        "unpublished": proof["unpublished"],
        "wav": str(reports / "audio" / host / f"{voice}.wav"),
        "report": str(reports / "index.html"),
        "seconds": seconds,
        "curl": line,
    }
    gone = [result[name] for name in ("wav", "report") if not Path(result[name]).is_file()]
    if gone:
        raise SystemExit(f"The deploy wrote no {' and no '.join(gone)}.")
    size = try_curl(line)
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")

    voices = sorted({sample["voice"] for sample in proof["samples"]})
    print(f"\nThe host {host} speaks, and it has no network.\n")
    print(f"  release      {result['release']}: Xinference with Kokoro-82M, voices {', '.join(voices)}")
    print(f"  source       {sources.in_words(proof['unpublished']) or 'all files are the published ones'}")
    print(f"  proof        {result['proof_level']}: {MEANS[result['proof_level']]}")
    print(f"  WAV          {result['wav']}")
    print(f"  report       {result['report']}")
    print("  seconds")
    wide = max(map(len, seconds))
    for name, value in seconds.items():
        print(f"    {name:<{wide}}{value:>7.1f}")
    if sources.of_voice(proof["unpublished"]) == sources.MADE_UP:
        print(f"\n{'!' * 78}")
        print("  THE VOICE IS NOT KOKORO'S. The models could not be fetched, so stand-ins with made-up weights")
        print("  replace them: they say this one sentence, and make noise for any other. All else is real.")
        print(f"{'!' * 78}")
    print(f"\nSpeak any text: write it between the first and the last line. This just answered with {size} bytes.\n")
    print(f"{line}\n")
    print(f"Result for machines: {folder / 'result.json'}     Remove the host: bin/quickstart --down\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
