# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the nodes and the initializers of an ONNX model.

An ONNX file is a protobuf message. This reads the few fields that the converter needs, so no package `onnx` is needed.
Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import ConversionError

# TensorProto.DataType.
TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers as int, all else as bytes. Raises ConversionError if it is cut off."""
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            kind = key & 7
            if kind == _VARINT:
                value, at = _varint(data, at)
                yield key >> 3, value
                continue
            if kind == _BYTES:
                size, at = _varint(data, at)
            elif kind in (_FIXED32, _FIXED64):
                size = 4 if kind == _FIXED32 else 8
            else:
                raise ConversionError(f"the ONNX file has a field of kind {kind}")
            if at + size > len(data):
                raise IndexError
            yield key >> 3, data[at : at + size]
            at += size
    except IndexError as error:
        raise ConversionError("the ONNX file is cut off") from error


def _numbers(value: Any) -> list[int]:
    """A repeated number, packed or not. Negative ones have 64 bits."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number - (1 << 64) if number >> 63 else number)
    return found


@dataclass
class Tensor:
    """A constant of the graph."""

    name: str = ""
    shape: list[int] = field(default_factory=list)
    kind: int = 0
    raw: bytes | memoryview = b""
    numbers: list[int] = field(default_factory=list)

    def array(self) -> np.ndarray:
        if self.kind not in TYPES:
            raise ConversionError(f"{self.name} has ONNX's data type {self.kind}, which is not known here")
        kind = np.dtype(TYPES[self.kind])
        flat = np.array(self.numbers, kind) if self.numbers else np.frombuffer(self.raw, kind)
        if flat.size != int(np.prod(self.shape)):
            raise ConversionError(f"{self.name} has {flat.size} numbers, but the shape {self.shape}")
        return flat.reshape(self.shape)


@dataclass
class Node:
    """An operation of the graph, with the names of its inputs."""

    name: str = ""
    operation: str = ""
    inputs: list[str] = field(default_factory=list)


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _tensor(data: memoryview) -> Tensor:
    tensor = Tensor()
    for number, value in fields(data):
        if number == 1:
            tensor.shape += _numbers(value)
        elif number == 2:
            tensor.kind = value
        elif number in (4, 9):  # float_data and raw_data, both little endian
            tensor.raw = value
        elif number in (5, 7):
            tensor.numbers += _numbers(value)
        elif number == 8:
            tensor.name = _text(value)
    return tensor


def _node(data: memoryview) -> Node:
    node = Node()
    for number, value in fields(data):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 3:
            node.name = _text(value)
        elif number == 4:
            node.operation = _text(value)
    return node


def read(model: bytes) -> tuple[list[Node], dict[str, Tensor]]:
    """The nodes and the initializers by name. Raises ConversionError."""
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    graphs = [value for number, value in fields(memoryview(model)) if number == 7]
    for graph in graphs:
        for number, value in fields(graph):
            if number == 1:
                nodes.append(_node(value))
            elif number == 5:
                tensors.append(_tensor(value))
    return nodes, {tensor.name: tensor for tensor in tensors}
