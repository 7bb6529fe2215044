"""Writes the trained tagger as int8 ONNX, with its tokenizer beside it: token ids and cases in, label scores out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from guardrails.personal.tagger import LABELS, MODEL, TOKENIZER
from training.minilm import LAYER_NORM_EPSILON, Graph, quantise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

_PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "mixed": "attention.output.dense", "mixed_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense", "outer": "output.dense", "outer_norm": "output.LayerNorm",
}  # fmt: skip
_TABLE_LIMIT = 127


def export(state: dict[str, NDArray[np.float32]], weights_folder: Path, out: Path) -> None:
    """`state` as torch names it; writes two files into `out`."""
    weights = {_renamed(name): value for name, value in state.items()}
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    (out / MODEL).write_bytes(_TaggerGraph(weights, layers).model().SerializeToString())
    shutil.copyfile(weights_folder / "tokenizer.json", out / TOKENIZER)


def _renamed(name: str) -> str:
    if not name.startswith("layers."):
        return name
    _, index, part, kind = name.split(".")
    return f"encoder.layer.{index}.{_PARTS[part]}.{kind}"


class _TaggerGraph(Graph):
    """The embedder's graph with cases added at its beginning and labels at its end."""

    def __init__(self, weights: dict[str, NDArray[np.float32]], layers: int) -> None:
        super().__init__(weights)
        self._layers = layers

    def model(self) -> ModelProto:
        """The whole graph: ids and cases (1, n) in, scores (1, n, labels) out."""
        from onnx import TensorProto, helper

        x = self._embeddings()
        for layer in range(self._layers):
            x = self._layer(x, f"encoder.layer.{layer}.")
        self._node("MatMul", [x, self._constant("head", self._weights["head.weight"].T)], out="head.product")
        self._node("Add", ["head.product", self._constant("head.bias", self._weights["head.bias"])], out="logits")
        self._node("Softmax", ["logits"], out="scores", attributes={"axis": -1})
        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])
        cases = helper.make_tensor_value_info("cases", TensorProto.INT64, [1, "tokens"])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "tokens", len(LABELS)])
        graph = helper.make_graph(self._nodes, "tagger", [ids, cases], [scores], self._constants)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _embeddings(self) -> str:
        words, scales = quantise(self._weights["words.weight"], _TABLE_LIMIT, axis=1)
        self._node("Gather", [self._constant("words", words), "ids"], out="word_int8")
        self._node("Cast", ["word_int8"], out="word_float", attributes={"to": 1})
        self._node("Gather", [self._constant("word_scales", scales), "ids"], out="word_scale")
        self._node("Mul", ["word_float", "word_scale"], out="word")
        self._node("Gather", [self._constant("cases_table", self._weights["cases.weight"]), "cases"], out="case")
        self._node("Shape", ["ids"], out="length", attributes={"start": 1, "end": 2})
        slices = [self._constant("places", self._weights["places"]), self._constant("zero", [0], "int64"), "length"]
        self._node("Slice", slices, out="place")
        self._node("Add", ["word", "place"], out="placed")
        self._node("Add", ["placed", "case"], out="embedded")
        norm = [self._constant("norm" + part, self._weights["norm" + part]) for part in (".weight", ".bias")]
        return self._node(
            "LayerNormalization", ["embedded", *norm], out="x", attributes={"axis": -1, "epsilon": LAYER_NORM_EPSILON}
        )
