# SPDX-License-Identifier: GPL-3.0-or-later
"""Kokoro's weights as its int8 ONNX model has them, by the path of torch's module.

torch.onnx names a node after the path of its module. So a weight's place in the graph says which parameter it is, even
if the initializer has another name (`onnx::MatMul_6547`, or `…/Mul_output_0` for the product of a weight norm).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from . import ConversionError
from .onnx_file import Node, Tensor, read

OPERATIONS = ("MatMulInteger", "MatMul", "ConvInteger", "Conv", "ConvTranspose", "DynamicQuantizeLSTM")
INT8, FLOAT32, CONSTANT = "int8", "float32", "constant"
# In the export, the predictor's last stages are called from the encoder that wraps all before the alignment.
TO_PART = (
    (r"encoder\.(F0\.|N\.|shared|F0_proj|N_proj)", r"predictor.\1"),
    (r"encoder\.(bert\.|bert_encoder|predictor\.|text_encoder\.)", r"\1"),
    (r"decoder\.decoder\.", r"decoder."),
)
# The graph's own constants, which are no parameters.
_OWN = re.compile(
    r"Constant|ConstantOfShape|Reciprocal_|_axes$|const_transpose|^splits|/Mul(_1)?_output_0$|Slice_|Reshape_|_shape$"
    r"|\.stft\.istft\.|generator/Cast_output_0$|reflection_pad|_zero_point$|Unsqueeze"
)


def module_path(node: str) -> str:
    """The module's path of a node: `/encoder/text_encoder/cnn.0/cnn.0.0/Conv_quant` is `text_encoder.cnn.0.0`."""
    pieces = node.strip("/").split("/")[:-1]
    # A Sequential repeats its own name, as in `cnn.0/cnn.0.0`. Leave out a piece that begins the next one.
    kept = [p for p, following in zip(pieces, [*pieces[1:], ""], strict=True) if not following.startswith(f"{p}.")]
    path = ".".join(kept)
    for pattern, replacement in TO_PART:
        path, changed = re.subn(rf"\A{pattern}", replacement, path)
        if changed:
            break
    return path


def initializer(path: str) -> str:
    """The name of a module's initializers in the graph, where the export kept it."""
    return f"decoder.{path}" if path.partition(".")[0] == "decoder" else f"encoder.{path}"


def reorder_gates(rows: np.ndarray) -> np.ndarray:
    """Rows of ONNX's gates (input, output, forget, cell) in torch's order (input, forget, cell, output)."""
    i, o, f, c = np.split(rows, 4, axis=0)
    return np.concatenate([i, f, c, o], axis=0)


class Graph:
    """The weights of the model, dequantised. It keeps account of what was taken."""

    def __init__(self, nodes: list[Node], tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.taken: set[str] = set()
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            if node.operation in OPERATIONS:
                self.nodes.setdefault(module_path(node.name), node)

    @classmethod
    def of(cls, model: bytes) -> Graph:
        """The graph of an ONNX file. Raises ConversionError."""
        return cls(*read(model))

    def _raw(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise ConversionError(f"the graph has no initializer {name}")
        self.taken.add(name)
        return self.tensors[name].array()

    def _node(self, path: str) -> Node:
        if path not in self.nodes:
            raise ConversionError(f"no node of the graph belongs to {path}")
        return self.nodes[path]

    def _dequantised(self, name: str, zero_point: str | None) -> np.ndarray:
        """``(q - zero point) * scale``, computed in double precision."""
        quantised = self._raw(name).astype(np.float64)
        offset = self._raw(zero_point).astype(np.float64) if zero_point else np.zeros(())
        scale = self._raw(f"{name.removesuffix('_quantized')}_scale").astype(np.float64)
        if scale.ndim == 1 and quantised.ndim == 3:  # one for each direction of an LSTM
            scale, offset = scale[:, None, None], offset[:, None, None]
        return ((quantised - offset) * scale).astype(np.float32)

    def named(self, name: str) -> np.ndarray | None:
        """A float32 initializer that kept the parameter's name."""
        return self._raw(name).astype(np.float32) if name in self.tensors else None

    def weight(self, path: str) -> tuple[np.ndarray, str]:
        """The weight of the module at ``path`` as the graph has it, and whether it comes from int8 or float32."""
        node = self._node(path)
        if node.operation.endswith("Integer"):
            return self._dequantised(node.inputs[1], node.inputs[3]), INT8
        return self._raw(node.inputs[1]).astype(np.float32), FLOAT32

    def embedding(self, path: str) -> np.ndarray:
        # Symmetric quantisation: the zero point is zero.
        return self._dequantised(f"{initializer(path)}.weight_quantized", None)

    def lstm(self, path: str, hidden: int) -> dict[str, tuple[np.ndarray, str]]:
        """The eight parameters of a bidirectional LSTM by torch's names, and what each comes from."""
        node = self._node(path)
        if node.operation != "DynamicQuantizeLSTM":
            raise ConversionError(f"{path} is no LSTM in the graph, but {node.operation}")
        inputs = self._dequantised(node.inputs[1], node.inputs[9])
        states = self._dequantised(node.inputs[2], node.inputs[11])
        biases = self._raw(node.inputs[3]).astype(np.float32)
        found = {}
        for direction, suffix in enumerate(("", "_reverse")):
            found[f"weight_ih_l0{suffix}"] = reorder_gates(inputs[direction].T), INT8
            found[f"weight_hh_l0{suffix}"] = reorder_gates(states[direction].T), INT8
            found[f"bias_ih_l0{suffix}"] = reorder_gates(biases[direction, : 4 * hidden]), FLOAT32
            found[f"bias_hh_l0{suffix}"] = reorder_gates(biases[direction, 4 * hidden :]), FLOAT32
        return found

    def unused(self) -> list[str]:
        """Initializers with more than one number that nobody took, but for the graph's own constants."""
        return [
            name
            for name, tensor in self.tensors.items()
            if name not in self.taken and int(np.prod(tensor.shape)) > 1 and not _OWN.search(name)
        ]
