# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the generator of the Kokoro stand-in to say the proof's sentence, and write it to `generator.npz`.

    python train.py SPACY_TARBALL [--steps N] [--out FILE]

in the environment of bin/standins, with the spaCy stand-in that it made, and with espeak-ng and sox from Debian.

Done once; the result is committed, and `make.py` builds the speaking weights from it in seconds. Everything before the
generator stays seeded random: it gives each phoneme of a sentence features of its own, and the generator learns which
sound belongs to the features of this sentence. For any other sentence they are others, and noise comes out.

Xinference runs Kokoro with dropout on, so the features of each step are drawn with dropout on as well.

`generator.npz`: for each trained tensor NAME an int8 array `NAME` and float16 scales `NAME:scale`, one for each row of
the first axis; `weight = array * scale`. About 4 MB.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import make
import numpy
import soundfile
import torch

SENTENCE = "The quick brown fox jumps over the lazy dog."
RATE = 24000
# The voice that each stand-in voice imitates, of espeak-ng.
ESPEAK = {"af_heart": "en-us+f2", "af_bella": "en-us+f3", "am_michael": "en-us", "bf_emma": "en-gb+f2"}
LEVEL = 0.1  # root mean square of the sentence: -20 dBFS
DRAWS = 24  # drawn features for each voice
SILENT_FRAMES = 1


def phonemes_of(voice: str) -> str:
    """What the deployed front end makes of the sentence in the voice's English."""
    import warnings

    from misaki import en, espeak

    warnings.simplefilter("ignore")
    british = voice.startswith("b")
    g2p = en.G2P(trf=False, british=british, fallback=espeak.EspeakFallback(british=british), unk="")
    text, _tokens = g2p(SENTENCE)
    return str(text)


def rendering(voice: str, samples: int) -> torch.Tensor:
    """The sentence as espeak-ng says it, stretched to `samples` at 24 kHz with a little silence at both ends."""
    body = samples - 2 * SILENT_FRAMES * make.SAMPLES_PER_FRAME
    with tempfile.TemporaryDirectory() as folder:
        raw, cut, fit = (str(Path(folder, name)) for name in ("raw.wav", "cut.wav", "fit.wav"))
        subprocess.run(["espeak-ng", "-v", ESPEAK[voice], "-s", "150", "-w", raw, SENTENCE], check=True)
        trim = ["silence", "1", "0.01", "0.5%"]
        subprocess.run(["sox", raw, "-r", str(RATE), cut, *trim, "reverse", *trim, "reverse"], check=True)
        length = soundfile.info(cut).frames
        subprocess.run(["sox", cut, fit, "tempo", "-s", f"{length / body:.6f}"], check=True)
        wave, _rate = soundfile.read(fit)
    wave = numpy.pad(wave[:body], (0, max(0, body - len(wave))))
    wave = numpy.pad(wave * LEVEL / numpy.sqrt((wave**2).mean()), SILENT_FRAMES * make.SAMPLES_PER_FRAME)
    return torch.tensor(wave.clip(-0.95, 0.95), dtype=torch.float32)[None]


def features(model: Any, voice: str, phonemes: str) -> list[tuple[torch.Tensor, ...]]:
    """What reaches the generator for the sentence: one draw without dropout, DRAWS with it."""
    drawn: list[tuple[torch.Tensor, ...]] = []
    generator = model.decoder.generator
    forward = generator.forward

    def catch(x: torch.Tensor, style: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
        drawn.append((x.detach(), style.detach(), pitch.detach()))
        return torch.zeros(1, 1, 1)

    generator.forward = catch
    style = make.voice_style(voice)[len(phonemes) - 1]
    for draw in range(DRAWS + 1):
        model.train(draw > 0)
        model(phonemes, style)
    generator.forward = forward
    model.eval()
    return drawn


def distance(said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Log magnitudes and spectral convergence over four resolutions."""
    total = torch.zeros(())
    for size in (256, 512, 1024, 2048):
        window = torch.hann_window(size)
        a, b = (
            torch.stft(wave, size, size // 4, window=window, return_complex=True).abs().clamp(min=1e-4)
            for wave in (said, wanted)
        )
        total = total + (a.log() - b.log()).abs().mean() + (a - b).norm() / b.norm()
    return total


def pack(generator: Any, out: Path) -> None:
    arrays = {}
    for name, tensor in make.trained_tensors(generator).items():
        rows = tensor.detach().reshape(tensor.shape[0], -1)
        scale = (rows.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-8).half()
        arrays[name] = (rows / scale.float()).round().clamp(-127, 127).to(torch.int8).reshape(tensor.shape).numpy()
        arrays[f"{name}:scale"] = scale[:, 0].numpy()
    numpy.savez_compressed(out, **arrays)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("spacy", type=Path, help="the tarball of en_core_web_sm, of which misaki wants the tags")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=make.HERE / "generator.npz")
    parser.add_argument("--wav", type=Path, help="folder that gets what each voice says in the end")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    unpacked = tempfile.TemporaryDirectory()
    with tarfile.open(args.spacy) as archive:
        archive.extractall(unpacked.name, filter="data")
    sys.path.append(str(next(Path(unpacked.name).iterdir())))
    random.seed(make.SEED)
    model = make.speaking_model()
    generator = model.decoder.generator
    lessons = []
    for voice in ESPEAK:
        drawn = features(model, voice, phonemes_of(voice))
        samples = drawn[0][0].shape[-1] * make.SAMPLES_PER_FRAME // 2
        target = rendering(voice, samples)
        lessons.append((voice, drawn, target))
        print(f"{voice}: {samples / RATE:.2f} s, {phonemes_of(voice)}", flush=True)

    torch.manual_seed(make.SEED)
    parameters = list(make.trained_parameters(generator))
    for parameter in generator.parameters():
        parameter.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    print(f"{sum(parameter.numel() for parameter in parameters) / 1e6:.1f} M parameters to train", flush=True)
    with torch.no_grad():
        generator.conv_post.bias[: generator.post_n_fft // 2 + 1] -= 4  # quiet to begin with, where exp() is tame
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.8, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=args.steps)
    began = time.monotonic()
    for step in range(args.steps):
        voice, drawn, target = lessons[step % len(lessons)]
        said = generator(*random.choice(drawn)).reshape(1, -1)[:, : target.shape[1]]
        loss = distance(said, target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 199:
            pack(generator, args.out)  # a run that is cut off leaves something to listen to
        if step % 40 < len(lessons) or step >= args.steps - len(lessons):
            print(f"step {step}, {voice}: {loss.item():.3f}, {time.monotonic() - began:.0f} s", flush=True)
    pack(generator, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")
    if args.wav:
        args.wav.mkdir(parents=True, exist_ok=True)
        model = make.speaking_model(args.out)
        for voice, _drawn, _target in lessons:
            for dropout in (False, True):
                model.train(dropout)
                phonemes = phonemes_of(voice)
                audio = model(phonemes, make.voice_style(voice)[len(phonemes) - 1])
                soundfile.write(args.wav / f"{voice}{'-dropout' if dropout else ''}.wav", audio.numpy(), RATE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
