"""Trains the head that tells insults, hate and threats from what merely names the same people.

    python -m training.toxicity --corpora FOLDER

Prints, for each public set, how well it does on the part that it has not seen; writes `guardrails/models/toxicity.json`.
Needs scikit-learn; half a minute.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from guardrails.embedding_memo import windows
from rag.embedder import open_embedder

OUT = Path("guardrails/models/toxicity.json")
EACH = 5000
FALSE_ALARMS = 0.05


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    corpora: Path = parser.parse_args().corpora
    embedder = open_embedder()
    learn: list[tuple[NDArray[np.float32], bool]] = []
    held: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    for name, rows in _sets(corpora).items():
        random.Random(0).shuffle(rows)
        rows = rows[:EACH]
        vectors = embedder.embed([windows(text)[0] for text, _ in rows])
        labels = np.array([toxic for _, toxic in rows])
        place = len(rows) * 4 // 5
        learn += list(zip(vectors[:place], labels[:place].tolist(), strict=True))
        held[name] = (vectors[place:], labels[place:])
    model = LogisticRegression(C=10.0, max_iter=3000, class_weight="balanced")
    model.fit(np.array([vector for vector, _ in learn]), np.array([label for _, label in learn]))
    # Every set counts the same: people say harmless things in many tones.
    limits = [
        np.quantile(model.predict_proba(vectors[~labels])[:, 1], 1 - FALSE_ALARMS) for vectors, labels in held.values()
    ]
    limit = float(np.mean(limits))
    for name, (vectors, labels) in held.items():
        scores = model.predict_proba(vectors)[:, 1]
        area = f", area under the curve {roc_auc_score(labels, scores):.3f}" if 0 < labels.sum() < len(labels) else ""
        found = f"{np.mean(scores[labels] > limit):.3f} found" if labels.any() else "-"
        wrong = f"{np.mean(scores[~labels] > limit):.3f} false alarms" if not labels.all() else "-"
        print(f"{name}: {found}, {wrong}{area}")
    bias = float(model.intercept_[0]) - float(np.log(limit / (1 - limit)))
    OUT.write_text(
        json.dumps({"weights": [round(w, 5) for w in model.coef_[0].tolist()], "bias": round(bias, 5)}) + "\n"
    )


def _sets(corpora: Path) -> dict[str, list[tuple[str, bool]]]:
    def rows(path: Path) -> list[dict[str, str]]:
        with path.open(errors="replace", newline="") as file:
            return list(csv.DictReader(file))

    davidson = [(row["tweet"], row["class"] != "2") for row in rows(corpora / "toxicity_davidson/labeled_data.csv")]
    surge = [(row["text"], row["is_toxic"] == "Toxic") for row in rows(corpora / "toxicity_surge/toxicity_en.csv")]
    toxigen = [
        (row["text"], row["toxicity_score"] >= 3)
        for row in json.loads((corpora / "toxicity_toxigen_subset/toxiGen.json").read_text())
    ]
    templates = [
        (row["phrase"], row["toxicity"] == "toxic")
        for row in rows(corpora / "toxicity_bias_templates/en_sentence_templates.csv")
    ]
    ordinary = [(row["text"], False) for row in rows(corpora / "banking77/train.csv")[::4]]
    ordinary += [(row["prompt"], False) for row in rows(corpora / "benign_awesome_prompts/prompts.csv")]
    for line in (corpora / "benign_self_instruct/seed_tasks.jsonl").read_text().splitlines():
        ordinary.append((json.loads(line)["instruction"], False))
    return {"davidson": davidson, "surge": surge, "toxigen": toxigen, "templates": templates, "ordinary": ordinary}


if __name__ == "__main__":
    main()
