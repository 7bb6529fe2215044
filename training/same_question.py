"""Trains the last of the gates of the semantic cache: how likely two questions that the words allow are the same one.

    python -m training.same_question --corpora FOLDER

Learns from paraphrases, from near misses made of them, and from neighbours that are other questions; prints how well it
does on what it has not seen; writes `cache/models/same_question.json`. Needs scikit-learn; a minute.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from cache.semantic.near_misses import near_misses
from cache.semantic.verify import disagreement, shape
from rag.embedder import Embedder, open_embedder

OUT = Path("cache/models/same_question.json")
LEAST_COSINE = 0.6
_NEIGHBOURS = 4
# Ways to ask the same: each with each.
_HOW = ("how do i {}", "how can i {}", "what are the steps to {}", "what is the way to {}", "can you tell me how to {}",
        "please explain how to {}", "what is the procedure to {}", "i want to {}, how do i do that", "how to {}")  # fmt: skip
_WHAT = ("what is {}", "tell me what {} is", "can you explain {}", "explain what {} is", "what does {} mean",
         "what is meant by {}", "give me the definition of {}")  # fmt: skip
_WAYS = {
    r"how (?:do|can|would|should) i (.{6,60})": _HOW,
    r"what (?:is|does) ((?:a|an|the) [^?]{4,40}?)(?: mean)?\??$": _WHAT,
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    corpora: Path = parser.parse_args().corpora
    embedder = open_embedder()
    pairs = json.loads((corpora / "gptcache_pairs/pairs.json").read_text())
    learn = _rows(pairs[::2] + _reworded(corpora, 0), _others(corpora, 0), embedder)
    held = _rows(pairs[1::2], _others(corpora, 1), embedder)
    reworded = _rows(_reworded(corpora, 1), [], embedder)
    model = LogisticRegression(C=3.0, max_iter=3000, class_weight="balanced")
    model.fit(learn[0], learn[1])
    scores = model.decision_function(held[0])
    for limit in (-2.0, -1.0, 0.0, 1.0, 2.0):
        same, other = scores[held[1] == 1] >= limit, scores[held[1] == 0] >= limit
        print(f"score {limit:4.1f}: {same.sum()} of {held[2]} paraphrases hit, {other.sum()} of {len(other)} others")
    scores = model.decision_function(reworded[0])[reworded[1] == 1]
    print(f"asked in another way: {np.mean(scores >= 0):.3f} of {len(scores)} that the words allow, of {reworded[2]}")
    weights = [round(float(each), 4) for each in model.coef_[0]]
    print(weights, round(float(model.intercept_[0]), 4))
    OUT.write_text(json.dumps({"weights": weights, "bias": round(float(model.intercept_[0]), 4)}) + "\n")


def _reworded(corpora: Path, half: int) -> list[dict[str, str]]:
    """Questions that people have asked, asked in other ways."""
    draw = random.Random(half)
    made = []
    for group in _others(corpora, half):
        for text, _ in group:
            for pattern, ways in _WAYS.items():
                if match := re.match(pattern, text.lower()):
                    one, other = draw.sample(ways, 2)
                    thing = match[1].strip(" ?.")
                    made.append({"origin": one.format(thing), "similar": other.format(thing)})
    return made


def _rows(
    pairs: list[dict[str, str]], others: list[list[tuple[str, str]]], embedder: Embedder
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Features and labels of the pairs that the words allow, and how many paraphrases there were before."""
    questions: list[tuple[str, str, int]] = [(each["origin"], each["similar"], 1) for each in pairs]
    questions += [(text, miss, 0) for _, text, miss in near_misses([each["origin"] for each in pairs])]
    texts = list(dict.fromkeys(text for one, other, _ in questions for text in (one, other)))
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    origins = [each["origin"] for each in pairs]
    questions += [
        (a, b, 0) for a, b in _neighbours([(text, str(place)) for place, text in enumerate(origins)], vectors)
    ]
    for group in others:
        found = dict(zip([text for text, _ in group], embedder.embed([text for text, _ in group]), strict=True))
        vectors |= found
        questions += [(a, b, 0) for a, b in _neighbours(group, found)]
    features, labels = [], []
    for one, other, label in questions:
        cosine = float(vectors[one] @ vectors[other])
        if one != other and cosine >= LEAST_COSINE and not disagreement(one, other):
            features.append((cosine, *shape(one, other)))
            labels.append(label)
    return np.array(features), np.array(labels), len(pairs)


def _neighbours(group: list[tuple[str, str]], vectors: dict[str, NDArray[np.float32]]) -> list[tuple[str, str]]:
    """Pairs of questions with different labels that lie near each other."""
    matrix = np.stack([vectors[text] for text, _ in group])
    near = np.argsort(-(matrix @ matrix.T), axis=1)[:, 1 : 1 + _NEIGHBOURS]
    return [
        (group[row][0], group[int(column)][0])
        for row, columns in enumerate(near)
        for column in columns
        if group[row][1] != group[int(column)][1] and group[row][0] != group[int(column)][0]
    ]


def _others(corpora: Path, half: int) -> list[list[tuple[str, str]]]:
    """Questions with their intents, a half of each set."""
    with (corpora / "banking77/train.csv").open(newline="") as file:
        banking = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    clinc = [(text, intent) for text, intent in json.loads((corpora / "clinc150/train_val.json").read_text())["train"]]
    random.Random(0).shuffle(banking)
    random.Random(0).shuffle(clinc)
    return [banking[half:5000:2], clinc[half:5000:2]]


if __name__ == "__main__":
    main()
