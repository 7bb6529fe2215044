"""A reply read to its end, for those that ask a model on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.contract.protocols import Reply


async def words_of(reply: Reply, most: int = 100_000) -> str:
    """The words of the first choice, up to `most` letters; closes the reply. Raises what the reply raises."""
    said: list[str] = []
    size = 0
    try:
        while size < most and (deltas := await reply.next()) is not None:
            for piece in (piece for delta in deltas for piece in delta.choices if piece.index == 0):
                said.append(piece.text)
                size += len(piece.text)
    finally:
        await reply.close()
    return "".join(said)[:most]
