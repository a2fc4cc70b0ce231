# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what the repair `kokoro-eval` changes: how far two runs of one sentence are apart, with it and without it.

    PYTHON bench/dropout.py MODEL [--voice af_heart] [--runs 2]

PYTHON is an interpreter with kokoro, such as a release's. MODEL is the folder of Kokoro-82M, such as what
`bin/converted kokoro` makes. Upstream's class is in training mode after it was made. There, dropout sets a fifth of the
values between layers to zero at random. The repair calls `.eval()`.

It prints the log-spectral distance between two runs, in dB, and the difference of their pitch (F0), in Hz. It exits
with 1 if the repaired model is not steady, or if the other one is: then the repair is not needed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Sentences as phonemes, so that no front end is needed.
SENTENCES = (
    "\u00f0\u0259 kw\u02c8\u026ak b\u0279\u02c8Wn f\u02c8\u0251ks \u02a4\u02c8\u028cmps \u02c8Ov\u0259\u0279"
    " \u00f0\u0259 l\u02c8Azi d\u02c8\u0254\u0261.",
    "h\u0259l\u02c8O w\u02c8\u025c\u0279ld, \u00f0\u026as \u026az \u0259 t\u02c8\u025bst.",
)
# A steady model differs only by the noise from which it makes breath. Its pitch is the same.
STEADY_HZ = 0.5
FRAME, HOP = 1024, 256
# What is this much quieter than the loudest part of a spectrum counts as silence.
FLOOR = 1e-6


def spectra(audio: Any) -> Any:
    """Return the log spectra of frames of sound, in dB."""
    import numpy

    frames = numpy.lib.stride_tricks.sliding_window_view(audio, FRAME)[::HOP] * numpy.hanning(FRAME)
    power = numpy.abs(numpy.fft.rfft(frames)) ** 2
    return 10 * numpy.log10(power + FLOOR * power.max())


def apart(one: Any, two: Any) -> float:
    """Return the log-spectral distance of two sounds of one length, in dB."""
    import numpy

    return float(numpy.sqrt(((spectra(one) - spectra(two)) ** 2).mean(axis=1)).mean())


class Speaker:
    """Kokoro's model, with the pitch that it last chose."""

    def __init__(self, folder: Path, voice: str, repaired: bool) -> None:
        import torch
        from kokoro import KModel

        self.torch: Any = torch
        model: Any = KModel(config=str(folder / "config.json"), model=str(folder / "kokoro-v1_0.pth"))
        self.model = model.eval() if repaired else model
        self.voice = torch.load(folder / "voices" / f"{voice}.pt", weights_only=True)
        predictor = self.model.predictor
        choose = predictor.F0Ntrain

        def kept(*arguments: Any) -> Any:
            self.pitch, noise = choose(*arguments)
            return self.pitch, noise

        predictor.F0Ntrain = kept

    def speak(self, phonemes: str, seed: int) -> tuple[Any, Any]:
        """Return the sound of a sentence, and its pitch."""
        self.torch.manual_seed(seed)
        audio = self.model(phonemes, self.voice[len(phonemes) - 1]).numpy()
        return audio, self.pitch.squeeze().numpy()


def compare(speaker: Speaker, runs: int) -> tuple[float, float]:
    """Return the mean distance, and the root mean square of the differences in pitch where there is one."""
    import numpy

    distances, differences = [], []
    for phonemes in SENTENCES:
        found = [speaker.speak(phonemes, seed) for seed in range(1, runs + 1)]
        for (one, first), (two, second) in zip(found, found[1:], strict=False):
            distances.append(apart(one, two))
            voiced = (first > 50) & (second > 50)
            differences.append(float(numpy.sqrt(((first - second)[voiced] ** 2).mean())))
    return sum(distances) / len(distances), sum(differences) / len(differences)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--voice", default="af_heart")
    parser.add_argument("--runs", type=int, default=2)
    given = parser.parse_args()
    found = []
    print("two runs of one sentence     log-spectral distance   difference of F0")
    for name, repaired in (("with the repair", True), ("without the repair", False)):
        distance, hertz = compare(Speaker(given.model, given.voice, repaired), given.runs)
        found.append((distance, hertz))
        print(f"{name:29}{distance:18.2f} dB{hertz:16.2f} Hz", flush=True)
    (near, steady), (far, unsteady) = found
    return 0 if near < far and steady < STEADY_HZ <= unsteady else 1


if __name__ == "__main__":
    sys.exit(main())
