"""The result of a semantic look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache.semantic.nearest import QuestionCandidate


class SemanticLookup(msgspec.Struct):
    """The result of a semantic look-up. `give`: the candidate's answer may be returned."""

    question: str
    partition: str
    version: str
    vector: NDArray[np.float32]
    candidate: QuestionCandidate | None
    give: bool
