"""Trains the head that tells attacks on prompts from ordinary ones: a logistic regression over an embedding and the rules.

    python -m training.injection --corpora FOLDER

Prints, for families of attacks that were left out of the training, how many are found at 1 % false alarms; then trains on
all of them and writes `guardrails/models/injection.json`. Needs scikit-learn; a minute on one core.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from guardrails.embedding_memo import windows
from guardrails.injection_rules import InjectionFinder, features
from guardrails.linear import LinearClassifier
from rag.embedder import Embedder, open_embedder

OUT = Path("guardrails/models/injection.json")
FALSE_ALARMS = 0.01
# (vectors with the rules' features, one a window; whether it is an attack)
Sample = tuple[NDArray[np.float32], bool]

OWN_BENIGN = """
Please ignore the previous e-mail, the meeting is on Tuesday after all.|Forget the milk, but buy bread and eggs.
How do I write a good system prompt for a support bot?|What is prompt injection, and how do companies defend against it?
Explain what the DAN jailbreak was in two sentences, for a talk about security.|Our instructions say to ignore warnings of level 2. Is that wise?
Act as a travel guide and suggest three museums in Vienna.|Pretend you are a pirate and tell my son a good-night story.
Disregard the last row of the table, it holds the sum.|You are a helpful assistant for a bank. How long does a transfer take?
Show me the instructions for the washing machine once more.|Repeat the last sentence, please, I did not hear it.
How can I bypass the paywall of my own blog for testers?|Override the toString method in Java so that it prints all fields.
The new rules of the club: no dogs, no smoking. Translate them into French.|Is it possible to disable the safety filter of a table saw for cleaning?
From now on the shop opens at nine. Write a notice for the door.|Summarise the text above in three points.|Print everything above 10 in this list.
What were you trained on?|Which model are you?|Act as a Linux terminal.|You must answer within 100 words.|Do not use bullet points.
Reply only with valid JSON.|Never mention prices in the newsletter.|Write without adjectives.|Ignore case when comparing the two strings.
git ignore all files under build except README|How to skip the previous steps of a wizard in React|Delete all messages older than a year from the table
"""


def main() -> None:
    """The command."""
    csv.field_size_limit(sys.maxsize)
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    corpora: Path = parser.parse_args().corpora
    embedder, finder = open_embedder(), InjectionFinder(0.0)
    attacks = {name: [_sample(text, True, embedder, finder) for text in texts] for name, texts in _attacks(corpora)}
    benign = [_sample(text, False, embedder, finder) for text in _benign(corpora)]
    print({name: len(samples) for name, samples in attacks.items()}, "benign", len(benign))
    for left_out in attacks:
        kept = [sample for name, samples in attacks.items() if name != left_out for sample in samples]
        model = _fit([*kept, *benign[::2]])
        limit = _limit(model, benign[1::2])
        found = np.mean([_score(model, sample) > limit for sample in attacks[left_out]])
        print(f"{left_out}: {found:.3f} found at 1 % false alarms, without having seen its like")
    model = _fit([*(sample for samples in attacks.values() for sample in samples), *benign])
    # Where one in a hundred ordinary prompts is flagged becomes 0.5: as judged by models that had not seen them.
    halves = _fit([*(s for samples in attacks.values() for s in samples), *benign[::2]])
    limit = _limit(halves, benign[1::2])
    head = LinearClassifier(model.coef_[0].tolist(), float(model.intercept_[0]) - float(np.log(limit / (1 - limit))))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"weights": [round(w, 5) for w in head.weights], "bias": round(head.bias, 5)}) + "\n")


def _sample(text: str, attack: bool, embedder: Embedder, finder: InjectionFinder) -> Sample:
    rules = features(finder.find(text))
    return np.array([np.concatenate([vector, rules]) for vector in embedder.embed(windows(text))]), attack


def _fit(samples: list[Sample]) -> LogisticRegression:
    rows = np.concatenate([vectors for vectors, _ in samples])
    labels = np.concatenate([[attack] * len(vectors) for vectors, attack in samples])
    weights = np.concatenate([[1 / len(vectors)] * len(vectors) for vectors, _ in samples])
    return LogisticRegression(C=4.0, max_iter=3000, class_weight="balanced").fit(rows, labels, sample_weight=weights)


def _score(model: LogisticRegression, sample: Sample) -> float:
    return float(model.predict_proba(sample[0])[:, 1].max())


def _limit(model: LogisticRegression, benign: list[Sample]) -> float:
    scores = sorted(_score(model, sample) for sample in benign)
    return scores[int(len(scores) * (1 - FALSE_ALARMS))]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(errors="replace", newline="") as file:
        return list(csv.DictReader(file))


def _attacks(corpora: Path) -> Iterator[tuple[str, list[str]]]:
    yield "in the wild", [row["prompt"] for row in _rows(corpora / "jailbreak_inthewild_2023/jailbreak_prompts.csv")]
    yield "giskard", [row["prompt"] for row in _rows(corpora / "giskard_prompt_injections/prompt_injections.csv")]
    lines = (corpora / "openai_guardrails_demo/src_guardrails_evals_eval_demo_demo_data.jsonl").read_text().splitlines()
    demo = [json.loads(line) for line in lines]
    yield "openai demo", [row["data"] for row in demo if row["expected_triggers"].get("Jailbreak")]
    compass = corpora / "compass_prompt_injection"
    yield (
        "compass",
        [
            row["text"]
            for name in ("dataset.csv", "prompt-injection-dataset.csv")
            for row in _rows(compass / name)
            if row["label"] == "1"
        ],
    )
    piguard = json.loads((corpora / "piguard_valid/valid.json").read_text())
    yield "piguard", [row["prompt"] for row in piguard if row["label"] == 1 and "```" not in row["prompt"]]


def _benign(corpora: Path) -> Iterator[str]:
    yield from (text for line in OWN_BENIGN.strip().splitlines() for text in line.split("|"))
    yield from (row["prompt"] for row in _rows(corpora / "benign_awesome_prompts/prompts.csv"))
    yield from (row["text"] for row in _rows(corpora / "compass_prompt_injection/safe.csv"))
    yield from (row["text"] for row in _rows(corpora / "banking77/train.csv")[::10])
    readers: list[tuple[str, Callable[[dict[str, Any]], list[str]]]] = [
        ("benign_mt_bench/question.jsonl", lambda row: row["turns"]),
        ("benign_self_instruct/seed_tasks.jsonl", lambda row: [row["instruction"] + " " + row["instances"][0]["input"]]),
        ("benign_self_instruct/user_oriented_instructions.jsonl",
         lambda row: [row["instruction"] + " " + row["instances"][0]["input"]]),
    ]  # fmt: skip
    for name, read in readers:
        for line in (corpora / name).read_text().splitlines():
            yield from read(json.loads(line))
    piguard = json.loads((corpora / "piguard_valid/valid.json").read_text())
    yield from (row["prompt"] for row in piguard if row["label"] == 0)


if __name__ == "__main__":
    main()
