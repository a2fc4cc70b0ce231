# SPDX-License-Identifier: GPL-3.0-or-later
"""Speak one sentence twice with Xinference's Kokoro, as the release has it and as upstream publishes it.

Kokoro's decoder adds noise to every sentence, as intended. Here the noise is the same each time, because the decoder
always starts with the same seed. All other differences come from the rest of the model, which must not be random.
Prints ``{"repaired": difference, "published": difference}``, the mean absolute difference of two sound waves as a share
of their loudness.

    python dropout.py MODEL_FOLDER XINFERENCE_WHEEL
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import soundfile
import torch
from xinference.model.audio import kokoro as repaired

FILE = "xinference/model/audio/kokoro.py"


def published(wheel: str) -> ModuleType:
    """Load the module from the wheel under another name in the same package."""
    folder = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(wheel) as archive:
        source = archive.extract(FILE, folder)
    spec = importlib.util.spec_from_file_location("xinference.model.audio.kokoro_published", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def difference(module: ModuleType, folder: str) -> float:
    model = module.KokoroModel("kokoro", folder, None, device="cpu")
    model.load()
    model._model.model.decoder.register_forward_pre_hook(lambda *_: torch.manual_seed(1) and None)
    waves = []
    for _each in range(2):
        torch.seed()
        sound = model.speech("The quick brown fox jumps over the lazy dog.", "af_heart", "wav")
        waves.append(torch.from_numpy(soundfile.read(io.BytesIO(sound))[0]))
    if waves[0].shape != waves[1].shape:
        return float("inf")
    return float((waves[0] - waves[1]).abs().mean() / waves[0].abs().mean())


folder, wheel = sys.argv[1:]
answer = {"repaired": difference(repaired, folder), "published": difference(published(wheel), folder)}
print(json.dumps(answer))
