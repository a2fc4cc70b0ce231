# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure memory and time of the spaCy models with which Kokoro reads English.

    <release>/env/bin/python -B bench/english.py TARBALLS [--kokoro MODEL] [--threads 1]

TARBALLS is a folder of models, such as `<store>/spacy`. Each is measured in a process of its own, and so is the
published shape of en_core_web_trf: RoBERTa base with random weights, which takes the memory and time of the published
ones. A text is the English paragraph of tests/audio/paragraphs.json. MODEL is the folder of Kokoro-82M. With it, the
time that Kokoro takes to speak the paragraph is printed too.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PARAGRAPH: str = json.loads((ROOT / "tests/audio/paragraphs.json").read_text(encoding="utf-8"))["a"]
SENTENCE = "The quick brown fox jumps over the lazy dog."
SHAPE = "published shape"
TURNS = 2
# How many paragraphs a long text has.
LONG = 5


def memory() -> tuple[int, int]:
    """Memory now and at most, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) * 1024 // 10**6 for name in ("VmRSS", "VmHWM"))
    return now, most


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def timed(work: Callable[[], Any]) -> float:
    """The seconds of CPU of the fastest turn."""
    found = []
    for _turn in range(TURNS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def make_shape(folder: Path) -> None:
    """Write the published shape with random weights."""
    sys.path.insert(0, str(ROOT / "tools/standins"))
    import make
    import transformer

    nlp = transformer.build(transformer.PUBLISHED, (), transformer.PUBLISHED_PIECES)
    known = transformer.examples(nlp, make.read_tagged())
    nlp.initialize(lambda: known)
    nlp.to_disk(folder)


def unpack(tarball: Path, folder: Path) -> Path:
    """Unpack a model; return the folder that spaCy loads."""
    with tarfile.open(tarball) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/*/*/config.cfg")).parent


def measure(model: Path, threads: int) -> None:
    """Print the figures of one model as JSON. misaki thinks that it is installed."""
    import spacy
    import torch
    from misaki import en

    torch.set_num_threads(threads)
    load, trf = spacy.load, "transformer" in (model / "config.cfg").read_text(encoding="utf-8")
    spacy.util.is_package = lambda _name: True
    # A release with the repair misaki-trf asks for a transformer, whatever it is given.
    spacy.load = lambda _name, enable: load(model, enable=["transformer" if trf else "tok2vec", "tagger"])
    before = memory()[0]
    start = time.process_time()
    g2p = en.G2P(trf=trf, unk="")
    g2p(SENTENCE)
    row = {"load_seconds": round(time.process_time() - start, 1), "memory_mb": memory()[0] - before}
    forget_peak()
    row |= {
        "sentence_ms": round(1000 * timed(lambda: g2p(SENTENCE))),
        "paragraph_ms": round(1000 * timed(lambda: g2p(PARAGRAPH))),
        "peak_mb": memory()[1] - before,
    }
    forget_peak()
    g2p(" ".join([PARAGRAPH] * LONG))
    print(json.dumps(row | {"long_text_peak_mb": memory()[1] - before}))


def speak(kokoro: Path, threads: int) -> None:
    """Print the seconds of CPU that Kokoro takes for the paragraph, from its phonemes on."""
    import torch
    from kokoro import KModel, KPipeline

    torch.set_num_threads(threads)
    weights = KModel(config=str(kokoro / "config.json"), model=str(kokoro / "kokoro-v1_0.pth")).eval()
    pipeline = KPipeline("e", repo_id="hexgrad/Kokoro-82M", model=weights)
    voice = str(min((kokoro / "voices").glob("a*.pt")))
    pipeline("Hola.", voice=voice)
    start = time.process_time()
    seconds = sum(len(each[2]) for each in pipeline(text=PARAGRAPH, voice=voice)) / 24000
    print(f"Kokoro speaks a text of this length in {time.process_time() - start:.1f} s ({seconds:.0f} s of audio).")


def run(*arguments: object) -> str:
    """Run this program again in a process of its own; return the last line."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tarballs", type=Path)
    parser.add_argument("--kokoro", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", choices=("measure", "speak", "shape"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "measure":
        measure(arguments.tarballs, arguments.threads)
    elif arguments.part == "speak":
        speak(arguments.tarballs, arguments.threads)
    elif arguments.part == "shape":
        make_shape(arguments.tarballs)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Print a row for each model."""
    print(f"{len(re.findall(r'[^ ]+', PARAGRAPH))} words in the paragraph; seconds and ms are of CPU")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {}
        for tarball in sorted(arguments.tarballs.glob("*.tar.gz")):
            models[f"{tarball.name.partition('-')[0]}, {tarball.stat().st_size / 1e6:.1f} MB"] = unpack(
                tarball, folder / tarball.name
            )
        models[SHAPE] = folder / "shape"
        subprocess.run([sys.executable, "-W", "ignore", __file__, str(models[SHAPE]), "--part", "shape"], check=True)
        for title, model in models.items():
            row = json.loads(run(model, "--part", "measure", "--threads", arguments.threads))
            print(f"{title}: {', '.join(f'{key} {value}' for key, value in row.items())}", flush=True)
    if arguments.kokoro:
        print(run(arguments.kokoro, "--part", "speak", "--threads", arguments.threads))


if __name__ == "__main__":
    main()
