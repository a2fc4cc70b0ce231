# SPDX-License-Identifier: GPL-3.0-or-later
"""Make stand-ins for the two model artifacts, for quickstart and tests on machines that reach no model hub.

In the folder OUT:

    spacy/en_core_web_sm-3.8.0.tar.gz   a real spaCy pipeline: tok2vec, tagger; trained here, made by `spacy package`
    spacy/en_core_web_trf-3.8.0.tar.gz  the same with a curated transformer in place of tok2vec; see transformer.py
    spacy/SOURCE.json
    kokoro/config.json                  as published with hexgrad/Kokoro-82M (Apache-2.0), byte for byte
    kokoro/kokoro-v1_0.pth              the true architecture, 81.8 M parameters; seeded random weights
    kokoro/voices/<voice>.pt            float32, shape (510, 1, 256), seeded by the voice's name
    kokoro/Kokoro-82M-v1.1-zh/          all but the same weights under the names of the newer model for Mandarin, whose
                                        alphabet its configuration has
    kokoro/SOURCE.json
    speaking/                           as kokoro/, with a smaller generator that train.py taught the proof's sentence:
                                        it says that in each of VOICES, and noise in place of any other text

`SOURCE.json` ({"source": "made-up", "note": str, "maker": sha256, "files": {path: sha256}}) is what the store's maker
reads to mark these files. Audio of kokoro/ has the length of the sentence and a sane level; it is not speech.

Needs the environment that is deployed (spacy, torch, kokoro); `--check` needs the standard library alone and exits 0
when OUT holds what this very maker would make, 1 when not.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MARKER = "SOURCE.json"
SPACY_VERSION = "3.8.0"
SPACY_REQUIREMENT = ">=3.8.0,<3.9.0"  # what the published model of this version declares
WEIGHTS = "kokoro-v1_0.pth"
SENTENCE_PHONEMES = "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˈOvəɹ ðə lˈAzi dˈɔɡ."
# One for each language, and more than one for English.
VOICES = (
    "af_heart", "af_bella", "am_michael", "bf_emma", "ef_dora", "ff_siwis", "hf_alpha", "if_sara", "jf_alpha",
    "pf_dora", "zf_xiaobei",
)  # fmt: skip
MANDARIN = "Kokoro-82M-v1.1-zh"
MANDARIN_VOICES = ("zf_001", "zm_010")
BOPOMOFO = "".join(map(chr, range(0x3105, 0x312A))) + "12345/"
SEED = 82
NOTE = "Made-up weights for quickstart and tests: what they say is not Kokoro's voice."

# Kokoro's frame is 25 ms (600 samples at 24 kHz) and read English has about 2.4 of them per phoneme.
FRAMES_PER_PHONEME = 2.4
SPEAKING_FRAMES_PER_PHONEME = 2
SAMPLES_PER_FRAME = 600
F0_HZ = 110.0
# Tuned once with SEED, fixed here so that the bytes stay the same: phonemes of 2 or 3 frames, a sentence near -20 dBFS.
DURATION_SPREAD = 0.04
MAGNITUDE_BIAS = -0.55


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def maker_digest(voices: list[str]) -> str:
    """SHA-256 over everything that shapes the stand-ins: these sources and the voices asked for."""
    digest = hashlib.sha256()
    for name in ("make.py", "transformer.py", "kokoro-config.json", "tagged.txt", "generator.npz"):
        digest.update((HERE / name).read_bytes())
    digest.update(",".join(sorted(voices)).encode())
    return digest.hexdigest()


def is_made(folder: Path, maker: str) -> bool:
    """True when the folder's marker names this maker and every file is there by name: the store's maker hashes them."""
    try:
        marker = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return marker.get("maker") == maker and all((folder / name).is_file() for name in marker["files"])


def publish(made: Path, folder: Path, maker: str, source: str = "made-up", note: str = NOTE) -> None:
    """Write the marker and put the folder in its place; a run cut off before this leaves the old one."""
    files = {str(path.relative_to(made)): sha256(path) for path in sorted(made.rglob("*")) if path.is_file()}
    marker = {"source": source, "note": note, "maker": maker, "files": files}
    (made / MARKER).write_text(json.dumps(marker, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def read_tagged() -> list[tuple[list[str], list[str]]]:
    """tagged.txt as (words, Penn tags) a sentence; `␣` stands for a white-space token."""
    sentences = []
    for line in (HERE / "tagged.txt").read_text(encoding="utf-8").splitlines():
        pairs = [pair.rsplit("/", 1) for pair in line.split()]
        if pairs:
            sentences.append(([word.replace("␣", " ") for word, _tag in pairs], [tag for _word, tag in pairs]))
    return sentences


def make_spacy(out: Path) -> None:
    import transformer

    package(train_small(), "core_web_sm", out)
    package(transformer.train(read_tagged(), SEED), "core_web_trf", out)


def tagged_examples(nlp: Any) -> list[Any]:
    """tagged.txt as spaCy learns it."""
    from spacy.tokens import Doc
    from spacy.training import Example

    return [
        Example.from_dict(Doc(nlp.vocab, words=words), {"words": words, "tags": tags}) for words, tags in read_tagged()
    ]


def train_small() -> Any:
    """The pipeline of en_core_web_sm: tok2vec and tagger."""
    import spacy

    spacy.util.fix_random_seed(SEED)
    nlp = spacy.blank("en")
    width = 96
    tok2vec = {
        "@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": width, "depth": 2,
        "embed_size": 500, "window_size": 1, "maxout_pieces": 3, "subword_features": True,
    }  # fmt: skip
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": width}
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    examples = tagged_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    for _round in range(30):
        nlp.update(examples, sgd=optimizer)
    return nlp


def package(nlp: Any, short: str, out: Path) -> None:
    """Write a trained pipeline as the tarball en_SHORT. Ends with an error if it has not learnt its sentences."""
    name = f"en_{short}-{SPACY_VERSION}"
    accuracy = nlp.evaluate(tagged_examples(nlp))["tag_acc"]
    if accuracy < 0.9:
        raise SystemExit(f"{name} did not learn its own sentences (tag accuracy {accuracy:.2f}).")

    nlp.meta.update(name=short, version=SPACY_VERSION, spacy_version=SPACY_REQUIREMENT, description=NOTE)
    with tempfile.TemporaryDirectory() as tmp:
        model, packages = Path(tmp, "model"), Path(tmp, "packages")
        packages.mkdir()
        nlp.to_disk(model)
        command = [sys.executable, "-m", "spacy", "package", str(model), str(packages)]
        command += ["--name", short, "--version", SPACY_VERSION, "--build", "sdist"]
        environment = {**os.environ, "PYTHONUTF8": "1"}
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        sdist = packages / name / "dist" / f"{name}.tar.gz"
        if not sdist.is_file():
            raise SystemExit(f"spacy package made no {sdist.name}:\n{ran.stdout}\n{ran.stderr}")
        repack(sdist, out / sdist.name)


def repack(sdist: Path, target: Path) -> None:
    """The same members in the same order with fixed times and owners, so that equal contents give equal bytes."""
    packed = io.BytesIO()
    with tarfile.open(sdist) as source, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as sink:
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "root", "root"
            member.pax_headers = {}
            member.mode = 0o755 if member.isdir() else 0o644
            sink.addfile(member, source.extractfile(member) if member.isfile() else None)
    target.write_bytes(gzip.compress(packed.getvalue(), compresslevel=6, mtime=0))


def read_config() -> dict[str, Any]:
    return dict(json.loads((HERE / "kokoro-config.json").read_text(encoding="utf-8")))


def fresh_model(config: dict[str, Any]) -> Any:
    """KModel with seeded random weights, ready to speak."""
    import torch
    from kokoro import KModel

    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as tmp:
        nothing = Path(tmp, "no-weights.pth")
        torch.save({}, nothing)  # an empty checkpoint: KModel keeps its fresh weights and asks no hub
        return KModel(repo_id="hexgrad/Kokoro-82M", config=config, model=str(nothing)).eval()


def voice_style(voice: str) -> Any:
    """The voice's tensor, float32 of shape (510, 1, 256), seeded by its name."""
    import torch

    seeded = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(voice.encode()).digest()[:4], "big"))
    style = torch.randn(1, 1, 256, generator=seeded) * 0.3
    return style.expand(510, 1, 256).clone()


def speaking_config() -> dict[str, Any]:
    """The published configuration with a smaller generator, which two cores train in minutes; see train.py."""
    config = read_config()
    config["istftnet"] |= {
        "upsample_rates": [10], "upsample_kernel_sizes": [20], "gen_istft_hop_size": 30, "gen_istft_n_fft": 120,
        "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]],
    }  # fmt: skip
    return config


def trained_parameters(generator: Any) -> Iterator[Any]:
    """What train.py trains: all of the generator but the noise branch, which is closed."""
    for name, parameter in generator.named_parameters():
        if name.startswith(("ups.", "resblocks.", "conv_post.")):
            yield parameter


def trained_tensors(generator: Any) -> dict[str, Any]:
    kept = {id(parameter) for parameter in trained_parameters(generator)}
    return {name: parameter for name, parameter in generator.named_parameters() if id(parameter) in kept}


def speaking_model(trained: Path | None = None) -> Any:
    """The model that train.py trains, or with its file of trained tensors the one that says the proof's sentence."""
    import torch

    config = speaking_config()
    model = fresh_model(config)
    generator = model.decoder.generator
    with torch.no_grad():
        duration = model.predictor.duration_proj.linear_layer
        share = SPEAKING_FRAMES_PER_PHONEME / config["max_dur"]
        duration.weight.zero_()
        duration.bias.fill_(math.log(share / (1 - share)))
        model.predictor.F0_proj.weight.zero_()
        model.predictor.F0_proj.bias.fill_(F0_HZ)
        for convolution in generator.noise_convs:
            convolution.weight.zero_()
            convolution.bias.zero_()
        if trained:
            import numpy

            with numpy.load(trained) as arrays:
                for name, parameter in trained_tensors(generator).items():
                    scale = torch.from_numpy(arrays[f"{name}:scale"]).float()
                    shape = (-1, *[1] * (parameter.dim() - 1))
                    parameter.copy_(torch.from_numpy(arrays[name]).float() * scale.reshape(shape))
    return model


def make_noise(out: Path, voices: list[str]) -> None:
    config = read_config()
    shutil.copyfile(HERE / "kokoro-config.json", out / "config.json")
    model = fresh_model(config)
    shape_output(model, config)
    write_kokoro(out, model, voices)
    write_mandarin(out / MANDARIN)
    for phonemes in (SENTENCE_PHONEMES, "jˈɛs."):
        try_kokoro(out, voices[0], phonemes, FRAMES_PER_PHONEME)


def make_speaking(out: Path, voices: list[str]) -> None:
    (out / "config.json").write_text(json.dumps(speaking_config(), indent=2, ensure_ascii=False) + "\n")
    write_kokoro(out, speaking_model(HERE / "generator.npz"), voices)
    try_kokoro(out, voices[0], SENTENCE_PHONEMES, SPEAKING_FRAMES_PER_PHONEME)


def write_kokoro(out: Path, model: Any, voices: list[str]) -> None:
    """The weights and voices as they are published: a dictionary of five parts, a tensor for each voice."""
    import torch

    parts = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")
    torch.save({part: getattr(model, part).state_dict() for part in parts}, out / WEIGHTS)

    (out / "voices").mkdir()
    for voice in voices:
        torch.save(voice_style(voice), out / "voices" / f"{voice}.pt")


def write_mandarin(out: Path) -> None:
    """The newer model for Mandarin: Bopomofo and tones take the places of the vocabulary that are free."""
    import torch

    (out / "voices").mkdir(parents=True)
    # One contents has one name on a host, so these differ: by a thousandth, in what no one hears.
    parts = torch.load(out.parent / WEIGHTS, weights_only=True)
    next(iter(parts["decoder"].values())).mul_(1.001)
    torch.save(parts, out / "kokoro-v1_1-zh.pth")
    config = read_config()
    free = sorted(set(range(1, config["n_token"])) - set(config["vocab"].values()))
    signs = [sign for sign in BOPOMOFO if sign not in config["vocab"]]
    config["vocab"] |= dict(zip(signs, free, strict=False))
    (out / "config.json").write_text(json.dumps(config, ensure_ascii=False) + "\n", encoding="utf-8")
    for voice in MANDARIN_VOICES:
        torch.save(voice_style(voice), out / "voices" / f"{voice}.pt")


def shape_output(model: Any, config: dict[str, Any]) -> None:
    """Bend three layers of the random model: how long a phoneme lasts, its pitch, how loud the result is."""
    import torch

    with torch.no_grad():
        duration = model.predictor.duration_proj.linear_layer
        share = FRAMES_PER_PHONEME / config["max_dur"]
        # One weight row for all bins: the frames of a phoneme are max_dur * sigmoid(bias + row . x), 2 or 3 of them.
        duration.weight.copy_(torch.randn(1, duration.in_features) * DURATION_SPREAD)
        duration.bias.fill_(math.log(share / (1 - share)))
        model.predictor.F0_proj.weight.mul_(0.1)
        model.predictor.F0_proj.bias.fill_(F0_HZ)
        magnitudes = config["istftnet"]["gen_istft_n_fft"] // 2 + 1
        model.decoder.generator.conv_post.bias[:magnitudes] += MAGNITUDE_BIAS


def try_kokoro(out: Path, voice: str, phonemes: str, frames_per_phoneme: float) -> None:
    """Load the files as Xinference does and speak: a stand-in that gives NaN, silence or a wrong length is no use."""
    import torch
    from kokoro import KModel

    model = KModel(repo_id="hexgrad/Kokoro-82M", config=str(out / "config.json"), model=str(out / WEIGHTS))
    style = torch.load(out / "voices" / f"{voice}.pt", weights_only=True)
    torch.manual_seed(SEED)
    audio = model(phonemes, style[len(phonemes) - 1])
    seconds = len(audio) / 24000
    natural = (len(phonemes) + 2) * frames_per_phoneme * SAMPLES_PER_FRAME / 24000
    level = audio.pow(2).mean().sqrt().item()
    peak = audio.abs().max().item()
    print(f"  {len(phonemes)} phonemes: {seconds:.2f} s, rms {20 * math.log10(level):.1f} dBFS, peak {peak:.2f}")
    if not (0.7 < seconds / natural < 1.4 and 0.02 < level < 0.3 and peak < 1.0):
        raise SystemExit("The Kokoro stand-in gives an implausible sound; see the line above.")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path, help="folder that gets spacy/ and kokoro/")
    parser.add_argument("--voices", default=",".join(VOICES), help="comma-separated names (default %(default)s)")
    parser.add_argument("--check", action="store_true", help="only say by exit status whether OUT is up to date")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch")  # of kokoro's use of torch, which is none of ours
    voices = sorted(set(args.voices.split(",")))
    maker = maker_digest(voices)
    makers: dict[str, Callable[[Path], None]] = {
        "spacy": make_spacy,
        "kokoro": lambda out: make_noise(out, voices),
        "speaking": lambda out: make_speaking(out, voices),
    }
    todo = [name for name in makers if not is_made(args.out / name, maker)]
    if args.check:
        return 1 if todo else 0
    args.out.mkdir(parents=True, exist_ok=True)
    for name in todo:
        began = time.monotonic()
        print(f"stand-in {name} ...", flush=True)
        made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=args.out))
        try:
            makers[name](made)
            made.chmod(0o755)
            publish(made, args.out / name, maker)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        print(f"stand-in {name}: {time.monotonic() - began:.1f} s in {args.out / name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
