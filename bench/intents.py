"""How a router treats out-of-scope questions if no `out_of_scope` is configured.

    python -m bench.intents FOLDER      # with public sets: clinc150/train_val.json, banking77/train.csv

Learns some intents of each set from a few examples, ten times with different ones. Then asks other questions of these
intents, questions of the set's other intents (near), and unrelated questions (far). Prints the share of questions that
an intent decides, at the default of `min_confidence`, without and with `in_scope`.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.embedder import Embedder, open_embedder
from router.intents.classifier import IntentClassifier, train

Set = dict[str, list[str]]
Matrix = NDArray[np.float32]
UNSURE_BELOW = 0.5
FAR = [
    "Who painted the ceiling of the Sistine Chapel?", "Prove that the square root of two is irrational.",
    "Write a haiku about autumn leaves.", "What is the boiling point of nitrogen?",
    "Fix this: for i in range(3) print i",
    "Name the moons of Jupiter.", "Summarise the plot of Hamlet.", "How do vaccines train the immune system?",
    "asdkjh qwe zxcmn", "Why is the sky blue?", "Compare TCP and UDP.", "What does a black hole look like?",
    "Who won the football world cup in 1974?", "Explain the offside rule.", "Give me a recipe for pumpkin soup.",
    "How deep is the Mariana Trench?", "What is the difference between a crow and a raven?", "Translate dog to Latin.",
    "When did the Roman Empire fall?", "How many strings does a cello have?",
]  # fmt: skip
SMALL: Set = {
    "refund": [
        "I want my money back",
        "can I get a refund",
        "please refund me",
        "how do refunds work",
        "my money back",
    ],
    "small-talk": ["hi", "hello there", "how are you", "thanks", "good morning"],
}
SMALL_MORE: Set = {
    "refund": ["give me back what I paid", "is a refund possible?", "I'd like to be refunded", "return my payment"],
    "small-talk": ["hey", "good evening", "thank you so much", "hello", "how is it going?"],
}


def sets(folder: Path) -> dict[str, Set]:
    """By intent."""
    found: dict[str, Set] = {name: defaultdict(list) for name in ("clinc150", "banking77")}
    for text, intent in json.loads((folder / "clinc150/train_val.json").read_text())["train"]:
        found["clinc150"][intent].append(text)
    with (folder / "banking77/train.csv").open() as file:
        for row in csv.DictReader(file):
            found["banking77"][row["category"]].append(row["text"])
    return found


class Asked:
    """What became of one kind of question."""

    def __init__(self) -> None:
        self.plain: list[float] = []
        self.shared: list[float] = []
        self.right: list[bool] = []

    def add(self, model: IntentClassifier, vector: Matrix, intent: str = "") -> None:
        ranked, within = model.classify(vector)
        self.plain.append(ranked[0][1])
        self.shared.append(ranked[0][1] * model.in_scope(within))
        self.right.append(ranked[0][0] == intent)

    def line(self) -> str:
        plain, shared, right = np.array(self.plain), np.array(self.shared), np.array(self.right)
        decided = f"decided {np.mean(plain >= UNSURE_BELOW):6.1%} -> {np.mean(shared >= UNSURE_BELOW):6.1%}"
        sure = f"certain (> .95) {np.mean(plain > 0.95):6.1%} -> {np.mean(shared > 0.95):6.1%}"
        mean = f"mean {plain.mean():.2f} -> {shared.mean():.2f}"
        if not right.any():
            return f"{decided}   {sure}   {mean}"
        told = f"right of the decided {right[plain >= 0.5].mean():.1%} -> {right[shared >= 0.5].mean():.1%}"
        return f"{decided}   {sure}   {mean}   {told}"


def learned(embedder: Embedder, examples: Set) -> IntentClassifier:
    names = list(examples)
    vectors = embedder.embed([text for each in examples.values() for text in each])
    labels = np.array([place for place, each in enumerate(examples.values()) for _ in each])
    titles = embedder.embed([name.replace("_", " ").replace("-", " ") for name in names])
    return train(vectors, labels, names, 0.95, titles)


def measure(embedder: Embedder, name: str, intents: Set, known: int, few: int) -> None:
    kinds = {"in scope": Asked(), "near": Asked(), "far": Asked()}
    far = embedder.embed(FAR)
    for seed in range(10):
        choose = random.Random(seed)
        usable = sorted(each for each, texts in intents.items() if len(texts) >= few + 3)
        chosen = choose.sample(usable, min(known, len(usable) - 1))
        shuffled = {each: choose.sample(intents[each], len(intents[each])) for each in chosen}
        model = learned(embedder, {each: texts[:few] for each, texts in shuffled.items()})
        for each in chosen:
            for vector in embedder.embed(shuffled[each][few : few + 10]):
                kinds["in scope"].add(model, vector, each)
        others = [text for each in sorted(set(intents) - set(chosen)) for text in intents[each]]
        for vector in embedder.embed(choose.sample(others, min(100, len(others)))):
            kinds["near"].add(model, vector)
        for vector in far:
            kinds["far"].add(model, vector)
    for kind, asked in kinds.items():
        print(f"{name:10} {known:2} intents of {few:2}  {kind:9} {asked.line()}")


def main() -> None:
    embedder = open_embedder()
    model = learned(embedder, SMALL)
    for kind, texts in (("far", FAR), *((intent, each) for intent, each in SMALL_MORE.items())):
        asked = Asked()
        for vector in embedder.embed(texts):
            asked.add(model, vector, kind)
        print(f"{'small talk':10}  2 intents of  5  {kind:9} {asked.line()}")
    for name, intents in sets(Path(sys.argv[1])).items():
        for known, few in ((2, 5), (5, 10), (15, 20)):
            measure(embedder, name, intents, known, few)


if __name__ == "__main__":
    main()
