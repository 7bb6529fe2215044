"""Trains the head that tells supported statements from others, on the BEGIN benchmark's development set.

    python -m training.grounds --corpora FOLDER

Prints the balanced accuracy over five folds, none of which shares a passage with another; writes
`guardrails/models/grounds.json`. Needs scikit-learn; a few seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold

from guardrails.judges.grounds import Grounds

OUT = Path("guardrails/models/grounds.json")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    corpora: Path = parser.parse_args().corpora
    with (corpora / "halu_begin" / "begin_dev_wow.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = [(Grounds(row["knowledge"]).features(row["response"]), row) for row in rows]
    kept = [(features, row) for features, row in found if features is not None]
    x = np.array([features for features, _ in kept])
    y = np.array([row["begin_label"] == "Fully attributable" for _, row in kept])
    passages = {text: number for number, text in enumerate(dict.fromkeys(row["knowledge"] for _, row in kept))}
    groups = np.array([passages[row["knowledge"]] for _, row in kept])
    scores = []
    for learn, test in GroupKFold(5).split(x, y, groups):
        scores.append(balanced_accuracy_score(y[test], _fit(x[learn], y[learn]).predict(x[test])))
    print(f"{len(kept)} of {len(rows)} answers judged, balanced accuracy {np.mean(scores):.3f}", np.round(scores, 3))
    model = _fit(x, y)
    head = {"weights": [round(w, 5) for w in model.coef_[0].tolist()], "bias": round(float(model.intercept_[0]), 5)}
    OUT.write_text(json.dumps(head) + "\n")


def _fit(x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    return LogisticRegression(class_weight="balanced", C=3.0, max_iter=5000).fit(x, y)


if __name__ == "__main__":
    main()
