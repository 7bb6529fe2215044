"""Intents learned from examples in a second or a few, on the embedding that everything else uses too.

Few examples: kernel ridge regression on 128 principal directions, in closed form, whose predictions for each example
left out are known without training again, so that probabilities and the limit of what is in scope are calibrated on
them. Many: softmax regression by L-BFGS, calibrated on a fifth that is held out first. Either decides in microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

KERNEL_LIMIT = 2000
_DIRECTIONS = 128
_GAMMA = 1.0
_RIDGE = 0.1
_MANY = 1000
_PENALTY = 10.0
_STEPS_HELD, _STEPS = 60, 60
_HOLD_OUT = 5
_TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


class IntentClassifier:
    """Says how likely each intent is, and whether it is any of them."""

    def __init__(
        self,
        names: Sequence[str],
        scores: Callable[[Matrix], tuple[Matrix, float]],
        temperature: float,
        limit: float,
        scope: Familiarity | None = None,
    ) -> None:
        """`scores` of one vector, (intents,), and how familiar it is; below `limit` it is none of them."""
        self._scope = scope
        self.names = tuple(names)
        self._scores = scores
        self._temperature = temperature
        self._limit = limit

    def classify(self, vector: Matrix) -> tuple[list[tuple[str, float]], float]:
        """The intents with their probabilities, best first, and how far within scope: below 0 it is outside."""
        import numpy as np

        scores, familiar = self._scores(vector)
        weights = np.exp((scores - scores.max()) / self._temperature)
        weights /= weights.sum()
        order = np.argsort(-weights)[:5]
        ranked = [(self.names[int(place)], float(weights[place])) for place in order]
        return ranked, familiar - self._limit

    def in_scope(self, within: float) -> float:
        """How likely it is that what lies so far within scope, as `classify` says, is any of the intents."""
        return self._scope.likely(within + self._limit) if self._scope is not None else float(within >= 0)


class Familiarity(NamedTuple):
    """How familiar examples are that were left out, and the share of them that is given up as strange.

    An example is as strange as a question with the share `q`, by the normal distribution. Against strangers that come
    as often as examples are given up, the question is in scope with q / (q + given up): one half at the limit.
    """

    mean: float
    deviation: float
    given_up: float

    @classmethod
    def of(cls, familiar: Matrix, kept: float) -> Familiarity:
        """By the examples that were left out."""
        return cls(float(familiar.mean()), max(1e-6, float(familiar.std())), 1 - kept)

    def likely(self, familiar: float) -> float:
        """From 0 to 1."""
        share = 0.5 * math.erfc((self.mean - familiar) / (self.deviation * math.sqrt(2)))
        return share / (share + self.given_up) if share + self.given_up > 0 else 0.0


def train(
    vectors: Matrix, labels: NDArray[np.int64], names: Sequence[str], kept: float = 0.95, titles: Matrix | None = None
) -> IntentClassifier:
    """Learns from `vectors` (examples, dimensions) of length 1 and the places of their intents in `names`.

    `kept` is the share of what is in scope that is to be taken for that; `titles` are vectors of the intents' names,
    one example more for each.
    """
    import numpy as np

    centre = vectors.mean(axis=0)
    if titles is not None and len(vectors) + len(titles) <= KERNEL_LIMIT:
        examples = np.concatenate([vectors, titles])
        places = np.concatenate([labels, np.arange(len(names))])
        return _kernel(examples, places, names, len(vectors), kept)
    if len(vectors) <= KERNEL_LIMIT:
        return _kernel(vectors, labels, names, len(vectors), kept)
    rows = _unit(vectors - centre)
    held = np.arange(len(rows)) % _HOLD_OUT == 0
    weights = _softmax_regression(rows[~held], labels[~held], len(names), _STEPS_HELD)
    left_out = _with_ones(rows[held]) @ weights
    temperature = _temperature(left_out, labels[held])
    familiar = left_out.max(axis=1)
    limit = float(np.quantile(familiar, 1 - kept))
    weights = _softmax_regression(rows, labels, len(names), _STEPS, weights)
    matrix, bias = np.ascontiguousarray(weights[:-1].T), weights[-1].copy()

    def scores(vector: Matrix) -> tuple[Matrix, float]:
        found: Matrix = matrix @ _unit_row(vector - centre) + bias
        return found, float(found.max())

    return IntentClassifier(names, scores, temperature, limit, Familiarity.of(familiar, kept))


def _kernel(
    vectors: Matrix, labels: NDArray[np.int64], names: Sequence[str], asked: int, kept: float
) -> IntentClassifier:
    """`asked`: so many of the rows are examples; the rest are names, which nobody asks by."""
    import numpy as np

    centre = vectors.mean(axis=0)
    whole = _unit(vectors - centre)
    _, _, directions = np.linalg.svd(whole, full_matrices=False)
    turn = np.ascontiguousarray(directions[:_DIRECTIONS].T, dtype=np.float32)
    turned = whole @ turn
    rows = _unit(turned)
    kernel = np.exp(-_GAMMA * (2 - 2 * rows @ rows.T)).astype(np.float64)
    wanted = np.eye(len(names))[labels] - 1 / len(names)
    inverse = np.linalg.inv(kernel + _RIDGE * np.eye(len(rows)))
    weights = inverse @ wanted
    # What each example's scores, and its nearest other, would be, had it been left out.
    left_out = (wanted - weights / np.diag(inverse)[:, None])[:asked].astype(np.float32)
    likeness = turned @ rows.T
    np.fill_diagonal(likeness, -1.0)
    best, nearest = left_out.max(axis=1), likeness.max(axis=1)[:asked]
    # Of few examples only the nearest says whether a question is of their kind; of many the scores do as well.
    share = 0.5 if asked >= _MANY else 0.0
    by_score = share / max(1e-6, float(best.std()))
    by_nearest = (1 - share) / max(1e-6, float(nearest.std()))
    familiar = by_score * best + by_nearest * nearest
    limit = float(np.quantile(familiar, 1 - kept))
    by_intent = np.ascontiguousarray(weights.T, dtype=np.float32)
    kept_rows = np.ascontiguousarray(rows, dtype=np.float32)

    def scores(vector: Matrix) -> tuple[Matrix, float]:
        row = _unit_row(vector - centre) @ turn
        # What lies across all examples has little of its length left.
        length = float(row @ row) ** 0.5
        cosines = kept_rows @ row
        found: Matrix = by_intent @ np.exp((cosines / max(length, 1e-9) - 1) * (2 * _GAMMA))
        return found, by_score * float(found.max()) + by_nearest * float(cosines.max())

    temperature = _temperature(left_out, labels[:asked])
    return IntentClassifier(names, scores, temperature, limit, Familiarity.of(familiar, kept))


def _temperature(scores: Matrix, labels: NDArray[np.int64]) -> float:
    """At which probabilities fit what is right.

    Few examples that are all told apart do not show that none ever is mistaken: one mistake more is counted than was
    made, as Platt does ("Probabilistic outputs for support vector machines", 1999).
    """
    import numpy as np

    right = (len(labels) + 1) / (len(labels) + 2)
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        scaled = (scores - scores.max(axis=1, keepdims=True)) / temperature
        likely = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        told = likely[rows, labels]
        others = (likely.sum(axis=1) - told) / max(1, scores.shape[1] - 1)
        return float(-(right * told + (1 - right) * others).mean())

    return min(_TEMPERATURES, key=loss)


def _softmax_regression(
    rows: Matrix, labels: NDArray[np.int64], count: int, steps: int, start: Matrix | None = None
) -> Matrix:
    """(dimensions + 1, intents), the last row the bias."""
    import numpy as np

    inputs = _with_ones(rows)
    wanted = np.eye(count, dtype=np.float32)[labels]
    shape = (inputs.shape[1], count)
    penalty = 1.0 / (_PENALTY * len(rows))

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weights = flat.reshape(shape)
        scores = inputs @ weights
        scores -= scores.max(axis=1, keepdims=True)
        likely = np.exp(scores)
        sums = likely.sum(axis=1, keepdims=True)
        value = float((np.log(sums)[:, 0] - (scores * wanted).sum(axis=1)).mean())
        gradient = inputs.T @ (likely / sums - wanted) / len(rows)
        gradient[:-1] += penalty * weights[:-1]
        return value + 0.5 * penalty * float((weights[:-1] ** 2).sum()), gradient.ravel()

    first = np.zeros(shape, dtype=np.float32) if start is None else start
    return _lbfgs(loss, first.ravel(), steps).reshape(shape)


def _lbfgs(loss: Callable[[Matrix], tuple[float, Matrix]], start: Matrix, steps: int, memory: int = 10) -> Matrix:
    """Nocedal and Wright, "Numerical Optimization" (2006), algorithm 7.5, with backtracking."""
    import numpy as np

    point = start.copy()
    value, gradient = loss(point)
    pairs: list[tuple[Matrix, Matrix, float]] = []
    for _ in range(steps):
        direction = _direction(gradient, pairs)
        slope = float(direction @ gradient)
        if slope >= 0:
            pairs.clear()
            direction, slope = -gradient, -float(gradient @ gradient)
        size = 1.0 if pairs else 1.0 / max(1.0, float(np.linalg.norm(gradient)))
        for _ in range(12):
            following = (point + size * direction).astype(np.float32)
            new_value, new_gradient = loss(following)
            if new_value <= value + 1e-4 * size * slope:
                break
            size /= 2
        else:
            break
        moved, turned = following - point, new_gradient - gradient
        curvature = float(moved @ turned)
        if curvature > 1e-12:
            pairs.append((moved, turned, 1.0 / curvature))
            del pairs[:-memory]
        done = value - new_value < 1e-6 * max(1.0, abs(value))
        point, value, gradient = following, new_value, new_gradient
        if done:
            break
    return point


def _direction(gradient: Matrix, pairs: Sequence[tuple[Matrix, Matrix, float]]) -> Matrix:
    direction = gradient.copy()
    factors = []
    for moved, turned, inverse in reversed(pairs):
        factor = inverse * float(moved @ direction)
        factors.append(factor)
        direction -= factor * turned
    if pairs:
        moved, turned, _ = pairs[-1]
        direction *= float(moved @ turned) / float(turned @ turned)
    for (moved, turned, inverse), factor in zip(pairs, reversed(factors), strict=True):
        direction += (factor - inverse * float(turned @ direction)) * moved
    return -direction


def _with_ones(rows: Matrix) -> Matrix:
    import numpy as np

    return np.concatenate([rows, np.ones((len(rows), 1), dtype=np.float32)], axis=1)


def _unit(rows: Matrix) -> Matrix:
    import numpy as np

    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    scaled: Matrix = (rows / lengths).astype(np.float32)
    return scaled


def _unit_row(row: Matrix) -> Matrix:
    length = float(row @ row) ** 0.5
    scaled: Matrix = row / max(length, 1e-9)
    return scaled
