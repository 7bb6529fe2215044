"""Cache entries: an answer's deltas as the model returned them. The output filters run on every hit."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from contract.deltas import ChoiceDelta, Delta
from contract.passages import Passage

if TYPE_CHECKING:
    from contract.phases import Answer

# Characters per delta when a buffered answer is returned as a stream.
_PIECE = 80
_MADE = struct.Struct("<d")


class CacheEntry(msgspec.Struct, frozen=True):
    """One answer. `made` is its creation time in seconds since 1970; `target` is the target that answered.

    `passages` are the passages it was based on, with a digest (`text_mark`) instead of their text; `pipeline` retrieved
    them.
    """

    made: float
    target: str
    streamed: bool
    deltas: tuple[Delta, ...]
    passages: tuple[Passage, ...] = ()
    pipeline: str = ""

    def pack(self) -> bytes:
        """Serialises the entry; the bytes start with `made`."""
        return _MADE.pack(self.made) + _encoder.encode(self)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CacheEntry)


def unpack(data: bytes) -> CacheEntry | None:
    """Deserialises an entry; None for unreadable bytes, such as those of another version.

    Such an entry counts as a miss and is overwritten; it costs only a call to the model.
    """
    try:
        return _decoder.decode(memoryview(data)[_MADE.size :])
    except (msgspec.DecodeError, ValueError):
        return None


def made_of(data: bytes) -> float:
    """The creation time of a packed entry, read without decoding the rest."""
    made: float = _MADE.unpack_from(data)[0]
    return made


def storable(batches: Sequence[Sequence[Delta]]) -> str:
    """Why a complete answer may not be cached; empty if all its choices ended normally, without tool calls."""
    finishes: dict[int, str] = {}
    for delta in (delta for batch in batches for delta in batch):
        for choice in delta.choices:
            if choice.tool_calls:
                return "calls tools"
            finishes.setdefault(choice.index, "")
            if choice.finish:
                finishes[choice.index] = choice.finish
    if not finishes:
        return "empty"
    abnormal = next((finish for finish in finishes.values() if finish not in ("stop", "stop_sequence")), None)
    return "" if abnormal is None else f"finish reason {abnormal or 'missing'}"


def entry_of(answer: Answer, batches: Sequence[Sequence[Delta]], target: str) -> CacheEntry:
    """Builds the entry of a complete answer, without ids and raw bytes, which belong to one request."""
    deltas = tuple(
        msgspec.structs.replace(delta, raw=b"", id="", event="")
        for batch in batches
        for delta in batch
        if delta.choices or delta.usage or delta.own
    )
    # The texts of passages stay in their store, which controls access; the entry holds only their digests.
    passages = tuple(msgspec.structs.replace(each, text=text_mark(each.text)) for each in answer.passages)
    return CacheEntry(time.time(), target, answer.reply.streamed, deltas, passages, answer.pipeline)


def text_mark(text: str) -> str:
    """A digest of a passage's text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class CachedReply:
    """Replays an entry as an answer. Implements `contract.reply.Reply`."""

    dialect = "gatehouse"

    def __init__(self, entry: CacheEntry, *, stream: bool) -> None:
        self.streamed = stream
        deltas = list(entry.deltas)
        if stream:
            self._batches = [
                [piece] for delta in deltas for piece in (_pieces(delta) if not entry.streamed else [delta])
            ]
        else:
            self._batches = [deltas]
        self._batches.reverse()

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        return self._batches.pop() if self._batches else None

    async def close(self) -> None:
        """See `Reply.close`."""
        self._batches.clear()


def _pieces(delta: Delta) -> list[Delta]:
    """Splits a buffered answer between words, for clients that requested a stream."""
    pieces: list[Delta] = []
    for choice in delta.choices:
        text = choice.text
        if len(text) <= _PIECE or choice.logprobs or choice.citations:
            pieces.append(Delta((choice,)))
            continue
        at = 0
        while len(text) - at > _PIECE:
            end = text.rfind(" ", at, at + _PIECE) + 1 or at + _PIECE
            reasoning = choice.reasoning if not at else ""
            begins = choice.begins and not at
            pieces.append(Delta((ChoiceDelta(choice.index, text=text[at:end], reasoning=reasoning, begins=begins),)))
            at = end
        rest = msgspec.structs.replace(choice, text=text[at:], reasoning="", begins=False)
        pieces.append(Delta((rest,)))
    head = msgspec.structs.replace(delta, choices=pieces[0].choices if pieces else (), usage=None)
    last = [Delta(usage=delta.usage)] if delta.usage is not None else []
    return [head, *pieces[1:], *last]
