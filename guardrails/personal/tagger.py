"""Finds names, addresses, organisations and locations in text with a small token classification model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guardrails.span import Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

MODEL = "tagger.onnx"
TOKENIZER = "tokenizer.json"
FOLDER = Path(__file__).parent / "model"
# The window size in tokens, and the overlap of two windows.
WINDOW = 126
OVERLAP = 24
KINDS = ("PERSON", "ADDRESS", "ORGANISATION", "LOCATION")
# The minimum probability of the label O; below it the best other label wins.
MIN_OUTSIDE = 0.65
LABELS = ("O", *(f"{mark}-{kind}" for kind in KINDS for mark in "BI"))
CASES = ("none", "lower", "title", "upper", "mixed", "digit", "digits and letters", "punctuation", "foreign")


def case_of(text: str, start: int, end: int) -> int:
    """The index in CASES of the word that contains the token `text[start:end]`; 0 for a special token."""
    if end <= start:
        return 0
    token = text[start:end]
    if not token[0].isalnum():
        return CASES.index("punctuation")
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    word = text[start:end]
    if word.isdigit():
        return CASES.index("digit")
    if any(letter.isdigit() for letter in word):
        return CASES.index("digits and letters")
    if not (word.islower() or word.isupper() or word[0].isupper() or any(letter.isupper() for letter in word)):
        return CASES.index("foreign")
    if word.islower():
        return CASES.index("lower")
    if word.isupper() and len(word) > 1:
        return CASES.index("upper")
    return CASES.index("title" if word[1:].islower() or len(word) == 1 else "mixed")


def decode(
    text: str, offsets: Sequence[tuple[int, int]], scores: NDArray[np.float32]
) -> list[tuple[int, int, str, float]]:
    """Decodes probabilities (tokens, labels) into spans (start, end, kind, score)."""
    spans: list[tuple[int, int, str, float]] = []
    for first, last in _words(text, offsets):
        means = scores[first : last + 1].mean(0)
        # A missed name costs more than a word that is masked needlessly.
        best = int(means.argmax()) if means[0] > MIN_OUTSIDE else 1 + int(means[1:].argmax())
        label = LABELS[best]
        if label == "O" or not text[offsets[first][0]].isalnum():
            continue
        score = float(means[best])
        mark, kind = label[0], label[2:]
        start, end = offsets[first][0], offsets[last][1]
        if mark == "I" and spans and spans[-1][2] == kind and _adjoins(text[spans[-1][1] : start], kind):
            spans[-1] = (spans[-1][0], end, kind, min(spans[-1][3], score))
        else:
            spans.append((start, end, kind, score))
    return spans


def _words(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Groups tokens into words (first, last), so that each word gets one label."""
    words: list[tuple[int, int]] = []
    for index, (start, end) in enumerate(offsets):
        if end <= start:
            continue
        if words and offsets[words[-1][1]][1] == start and text[start].isalnum() and text[start - 1].isalnum():
            words[-1] = (words[-1][0], index)
        else:
            words.append((index, index))
    return words


def _adjoins(gap: str, kind: str) -> bool:
    """Whether a gap between two words may be part of one span; names of people are not joined across commas."""
    if len(gap) > 4 or any(letter.isalnum() for letter in gap):
        return False
    return kind != "PERSON" or not any(letter in ",;:/|\n" for letter in gap)


class Tagger:
    """Implements `TaggingModel` of `tagger_thread`. Blocking: about 10 ms per 500 characters on one core."""

    def __init__(self, session: InferenceSession, tokenizer: Tokenizer) -> None:
        self._session = session
        self._tokenizer = tokenizer

    def tag(self, text: str) -> list[Span]:
        """Returns spans of KINDS, ordered and without overlaps."""
        import numpy as np

        if not any(letter.isalpha() for letter in text):
            return []
        encoding = self._tokenizer.encode(text)
        # Without the special tokens at both ends, which each window gets separately.
        ids, offsets = encoding.ids[1:-1], encoding.offsets[1:-1]
        if not ids:
            return []
        first, last = encoding.ids[0], encoding.ids[-1]
        cases = [case_of(text, start, end) for start, end in offsets]
        scores = np.zeros((len(ids), len(LABELS)), dtype=np.float32)
        for start, end, new in _windows(len(ids)):
            inputs = np.array([[first, *ids[start:end], last]], dtype=np.int64)
            shapes = np.array([[0, *cases[start:end], 0]], dtype=np.int64)
            scores[new:end] = self._session.run(["scores"], {"ids": inputs, "cases": shapes})[0][
                0, 1 + new - start : -1
            ]
        return [Span(start, end, kind, round(score, 3)) for start, end, kind, score in decode(text, offsets, scores)]


def _windows(count: int) -> list[tuple[int, int, int]]:
    """(start, end, start of the new tokens) of each window over `count` tokens."""
    windows = [(0, min(WINDOW, count), 0)]
    while windows[-1][1] < count:
        start = windows[-1][1] - OVERLAP
        windows.append((start, min(start + WINDOW, count), windows[-1][1] - OVERLAP // 2))
    return windows


def open_tagger(folder: Path = FOLDER) -> Tagger:
    """Loads the built-in model. Raises `ValueError` if a library or the model is missing."""
    try:
        import onnxruntime
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ValueError(f"names and addresses need the extra 'embeddings': {error.name} is not installed") from None
    if not (folder / MODEL).is_file():
        raise ValueError(f"the model for names and addresses is missing: {folder / MODEL}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Tagger(session, tokenizer)
