"""One look-up of a question among those that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache.semantic.nearest import QuestionCandidate


class SemanticLookup(msgspec.Struct):
    """One look-up. `give` says that the candidate's answer may be given."""

    question: str
    partition: str
    version: str
    vector: NDArray[np.float32]
    candidate: QuestionCandidate | None
    give: bool
