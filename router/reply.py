"""The commit: the moment after which an answer is the caller's and nothing retries or falls back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contract.deltas import Delta
from contract.errors import EmptyAnswer, Refusal, TimedOut, UpstreamError
from contract.provider import Provider
from contract.reply import Reply
from contract.unsettled import Transcript
from router.blame import blame
from router.failure import record_cancelled, record_failure
from router.health import Permit

_NOT_YET = frozenset({"", "stop", "other"})
_DECLINED = frozenset({"content_filter", "refusal"})


class CommittedReply:
    """An answer that has begun: what was read before the commit, then the rest as it comes.

    `target` is `provider/model`; `trusted` is the provider's. Ends its attempt and its permit on every way out.
    """

    __slots__ = (
        "_clock",
        "_explain",
        "_head",
        "_permit",
        "_reply",
        "_transcript",
        "attempt",
        "dialect",
        "provider",
        "streamed",
        "target",
        "trusted",
    )

    def __init__(
        self,
        reply: Reply,
        head: list[Delta],
        provider: Provider,
        transcript: Transcript,
        permit: Permit,
        clock: Callable[[], float],
        explain: Callable[[TimedOut], None] | None = None,
    ) -> None:
        """`explain` says of a timeout which limit it was, and where that is set."""
        self.dialect = reply.dialect
        self.streamed = reply.streamed
        attempt = transcript.attempt
        self.target = attempt.target
        self.provider = provider.name
        self.trusted = provider.trusted
        self.attempt = attempt
        self._transcript = transcript
        self._reply = reply
        self._head: list[Delta] | None = head
        self._permit = permit
        self._clock = clock
        self._explain = explain

    async def next(self) -> list[Delta] | None:
        """The next deltas, or None at the clean end. An `UpstreamError` passes through as it came."""
        if self._head is not None:
            batch, self._head = self._head, None
            return batch
        try:
            following = await self._reply.next()
        except BaseException as error:
            self._end(error)
            await self._reply.close()
            raise
        if following is None:
            self._end(None)
        else:
            note_usage(self._transcript, following)
        return following

    async def close(self) -> None:
        """Lets go of the upstream call at once. Idempotent."""
        self._give_up()
        await self._reply.close()

    def _give_up(self) -> None:
        if not self.attempt.ended:
            record_cancelled(self.attempt, self._clock(), lost=False)
        self._permit.release()

    def _end(self, error: BaseException | None) -> None:
        now = self._clock()
        if error is None:
            self.attempt.ended = self.attempt.ended or now
            self._permit.finish()
            return
        if isinstance(error, TimedOut) and self._explain is not None:
            self._explain(error)
        if isinstance(error, Exception):
            record_failure(self.attempt, error, now)
        if isinstance(error, UpstreamError):
            note_usage(self._transcript, error.before)
            self._permit.fail(error, now, blame(error, self._transcript, self._permit.timeouts, stream=self.streamed))
        self._give_up()


async def read_to_commit(
    reply: Reply,
    transcript: Transcript,
    refusal_falls_back: bool,
    clock: Callable[[], float],
    opening: Callable[[Delta], None] | None = None,
) -> list[Delta]:
    """All deltas up to and with the first that commits: one with content, or an end that says why there is none.

    `opening` hears of the first delta when it does not commit. Raises `EmptyAnswer` for a clean end with nothing, and
    `Refusal` for a declined one if that is to fall back.
    """
    head: list[Delta] = []
    declined = False
    while (batch := await _hear(reply, transcript)) is not None:
        head = head + batch if head else batch
        for delta in batch:
            for choice in delta.choices:
                if choice.has_content:
                    transcript.attempt.first_token = clock()
                    return head
                if choice.finish in _DECLINED and refusal_falls_back:
                    declined = True
                elif choice.finish not in _NOT_YET:
                    return head
        if opening is not None and batch:
            opening(batch[0])
            opening = None
    if declined:
        raise Refusal("the provider's content policy declined the request")
    raise EmptyAnswer("the provider's answer was empty")


async def _hear(reply: Reply, transcript: Transcript) -> list[Delta] | None:
    """The next deltas, noted on the attempt; also those that came with an error, and that nobody gets."""
    try:
        batch = await reply.next()
    except UpstreamError as error:
        note_usage(transcript, error.before)
        raise
    if batch is not None:
        note_usage(transcript, batch)
    return batch


def note_usage(transcript: Transcript, batch: Sequence[Delta]) -> None:
    """Keeps the latest usage and the words, so that what was generated is known however it ends."""
    attempt, said = transcript.attempt, transcript.said
    for delta in batch:
        if delta.usage is not None:
            attempt.usage = delta.usage.sane
        if delta.tier:
            attempt.tier = delta.tier
        for choice in delta.choices:
            if choice.text:
                said.append(choice.text)
            if choice.reasoning:
                said.append(choice.reasoning)
            for call in choice.tool_calls:
                said.append(call.name + call.arguments)
    if said:
        attempt.uncounted = True
