"""Trains a classifier of intents from examples within seconds, on the shared embedding model.

Few examples: kernel ridge regression on 128 principal components, in closed form. Its leave-one-out predictions need no
further training, and calibrate the probabilities and the scope threshold. Many examples: softmax regression by L-BFGS,
calibrated on a held-out fifth. Both classify in microseconds.
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
    """Computes the probability of each intent, and whether a question is in scope."""

    def __init__(
        self,
        names: Sequence[str],
        scores: Callable[[Matrix], tuple[Matrix, float]],
        temperature: float,
        limit: float,
        scope: Familiarity | None = None,
    ) -> None:
        """`scores` returns the scores of one vector, (intents,), and its familiarity; below `limit` is out of scope."""
        self._scope = scope
        self.names = tuple(names)
        self._scores = scores
        self._temperature = temperature
        self._limit = limit

    def classify(self, vector: Matrix) -> tuple[list[tuple[str, float]], float]:
        """The best 5 intents with their probabilities, and the margin to the scope limit: below 0 is out of scope."""
        import numpy as np

        scores, familiar = self._scores(vector)
        weights = np.exp((scores - scores.max()) / self._temperature)
        weights /= weights.sum()
        order = np.argsort(-weights)[:5]
        ranked = [(self.names[int(place)], float(weights[place])) for place in order]
        return ranked, familiar - self._limit

    def in_scope(self, within: float) -> float:
        """The probability that a question with this margin (from `classify`) has any of the intents."""
        return self._scope.probability(within + self._limit) if self._scope is not None else float(within >= 0)


class Familiarity(NamedTuple):
    """The distribution of the familiarity of left-out examples, and the share of them rejected as out of scope.

    `q` is the share of examples that are less familiar than a question, by the normal distribution. If out-of-scope
    questions are as frequent as rejected examples, the question is in scope with q / (q + rejected): 0.5 at the limit.
    """

    mean: float
    deviation: float
    rejected: float

    @classmethod
    def of(cls, familiar: Matrix, accept: float) -> Familiarity:
        """The distribution of left-out examples; `accept` is the share to accept."""
        return cls(float(familiar.mean()), max(1e-6, float(familiar.std())), 1 - accept)

    def probability(self, familiar: float) -> float:
        """The probability of being in scope, 0 to 1."""
        share = 0.5 * math.erfc((self.mean - familiar) / (self.deviation * math.sqrt(2)))
        return share / (share + self.rejected) if share + self.rejected > 0 else 0.0


def train(
    vectors: Matrix, labels: NDArray[np.int64], names: Sequence[str], accept: float = 0.95, titles: Matrix | None = None
) -> IntentClassifier:
    """Trains on `vectors` (examples, dimensions) of length 1, with `labels` as indices into `names`.

    `accept` is the share of in-scope questions to accept; `titles` are vectors of the intents' names, used as one more
    example for each.
    """
    import numpy as np

    centre = vectors.mean(axis=0)
    if titles is not None and len(vectors) + len(titles) <= KERNEL_LIMIT:
        examples = np.concatenate([vectors, titles])
        places = np.concatenate([labels, np.arange(len(names))])
        return _kernel(examples, places, names, len(vectors), accept)
    if len(vectors) <= KERNEL_LIMIT:
        return _kernel(vectors, labels, names, len(vectors), accept)
    rows = _unit(vectors - centre)
    held = np.arange(len(rows)) % _HOLD_OUT == 0
    weights = _softmax_regression(rows[~held], labels[~held], len(names), _STEPS_HELD)
    left_out = _with_ones(rows[held]) @ weights
    temperature = _temperature(left_out, labels[held])
    familiar = left_out.max(axis=1)
    limit = float(np.quantile(familiar, 1 - accept))
    weights = _softmax_regression(rows, labels, len(names), _STEPS, weights)
    matrix, bias = np.ascontiguousarray(weights[:-1].T), weights[-1].copy()

    def scores(vector: Matrix) -> tuple[Matrix, float]:
        found: Matrix = matrix @ _unit_row(vector - centre) + bias
        return found, float(found.max())

    return IntentClassifier(names, scores, temperature, limit, Familiarity.of(familiar, accept))


def _kernel(
    vectors: Matrix, labels: NDArray[np.int64], names: Sequence[str], examples: int, accept: float
) -> IntentClassifier:
    """Kernel ridge regression. The first `examples` rows are examples; the rest are names, not used for calibration."""
    import numpy as np

    centre = vectors.mean(axis=0)
    centred = _unit(vectors - centre)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    projection = np.ascontiguousarray(directions[:_DIRECTIONS].T, dtype=np.float32)
    projected = centred @ projection
    rows = _unit(projected)
    kernel = np.exp(-_GAMMA * (2 - 2 * rows @ rows.T)).astype(np.float64)
    wanted = np.eye(len(names))[labels] - 1 / len(names)
    inverse = np.linalg.inv(kernel + _RIDGE * np.eye(len(rows)))
    weights = inverse @ wanted
    # Leave-one-out scores of each example, and the similarity of its nearest neighbour.
    left_out = (wanted - weights / np.diag(inverse)[:, None])[:examples].astype(np.float32)
    similarity = projected @ rows.T
    np.fill_diagonal(similarity, -1.0)
    best, nearest = left_out.max(axis=1), similarity.max(axis=1)[:examples]
    # With few examples only the nearest neighbour shows whether a question is in scope; with many the scores do too.
    share = 0.5 if examples >= _MANY else 0.0
    by_score = share / max(1e-6, float(best.std()))
    by_nearest = (1 - share) / max(1e-6, float(nearest.std()))
    familiar = by_score * best + by_nearest * nearest
    limit = float(np.quantile(familiar, 1 - accept))
    by_intent = np.ascontiguousarray(weights.T, dtype=np.float32)
    example_rows = np.ascontiguousarray(rows, dtype=np.float32)

    def scores(vector: Matrix) -> tuple[Matrix, float]:
        row = _unit_row(vector - centre) @ projection
        # A vector that is orthogonal to all examples is short after the projection.
        length = float(row @ row) ** 0.5
        cosines = example_rows @ row
        found: Matrix = by_intent @ np.exp((cosines / max(length, 1e-9) - 1) * (2 * _GAMMA))
        return found, by_score * float(found.max()) + by_nearest * float(cosines.max())

    temperature = _temperature(left_out, labels[:examples])
    return IntentClassifier(names, scores, temperature, limit, Familiarity.of(familiar, accept))


def _temperature(scores: Matrix, labels: NDArray[np.int64]) -> float:
    """The temperature at which probabilities fit the labels.

    Targets are smoothed as if there were one more error than was made, because few examples without errors do not prove
    that there are none (Platt, "Probabilistic outputs for support vector machines", 1999).
    """
    import numpy as np

    right = (len(labels) + 1) / (len(labels) + 2)
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        scaled = (scores - scores.max(axis=1, keepdims=True)) / temperature
        log_likelihood = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        correct = log_likelihood[rows, labels]
        others = (log_likelihood.sum(axis=1) - correct) / max(1, scores.shape[1] - 1)
        return float(-(right * correct + (1 - right) * others).mean())

    return min(_TEMPERATURES, key=loss)


def _softmax_regression(
    rows: Matrix, labels: NDArray[np.int64], count: int, steps: int, start: Matrix | None = None
) -> Matrix:
    """The weights (dimensions + 1, intents); the last row is the bias."""
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
    """L-BFGS with backtracking: Nocedal and Wright, "Numerical Optimization" (2006), algorithm 7.5."""
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
