"""Handles personal data in requests: masks it with tags that are restored in the answer, blocks, or only flags it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from contract.messages import ChatRequest, Message, Text
from contract.work import caller_of
from guardrails.checks import RequestMasker
from guardrails.masking.mask import Values, literal_spans, mask_text, name_parts, texts_of
from guardrails.masking.tags import LITERAL, TagKey
from guardrails.masking.unmask import EVERY_TOOL, Unmask, as_json
from guardrails.masking.vault import Vault
from guardrails.notes import with_note
from guardrails.span import Span, TakenSpans
from guardrails.text_fields import Author, map_text, unread_parts

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from guardrails.masking.conversations import Conversations
    from guardrails.personal.search import PersonalSearch
    from guardrails.slices import Slicer
    from guardrails.verdict import Policy

_HINT_TEXT = (
    "Words in angle brackets such as <PERSON_K7Q2AB> stand for real values that you can't see. "
    "Use them as they are, letter by letter."
)
_HINT = Message("system", (Text(_HINT_TEXT),))


class PersonalGuard(RequestMasker):
    """One configured masking guardrail."""

    def __init__(
        self,
        search: PersonalSearch,
        policy: Policy,
        secret: bytes,
        tools: Sequence[str],
        *,
        hint: bool,
        conversations: Conversations | None = None,
    ) -> None:
        """`secret` derives the tags; `tools` receive the real values; `hint` explains tags to the model.

        `conversations` stores the values of named conversations.
        """
        self.policy = policy
        self._search = search
        self._secret = secret
        self._tools = tuple(tools)
        self._hint = hint
        self._conversations = conversations

    def masking(self, request: ChatRequest, app: str, *, hint: bool = True) -> Masking:
        """Starts the masking of one request, with the tags of its conversation."""
        named = f"{app}\0{request.conversation}" if request.conversation else ""
        key = TagKey(self._secret, f"named\0{named}" if named else f"{app}\0{conversation_of(request)}")
        return Masking(self, Vault(key), hint and self._hint, named)

    async def load_values(self, scope: str, vault: Vault, stage: Stage, exchange: Exchange) -> None:
        """Loads the values that earlier turns of a named conversation masked. Raises `GuardrailBroken`."""
        if self._conversations is None:
            return
        try:
            vault.restore(await self._conversations.load(scope))
        except Exception as error:
            self.policy.failed(error, stage, exchange)

    async def save_values(self, scope: str, vault: Vault, stage: Stage, exchange: Exchange) -> None:
        """Saves the values that this turn masked. Raises `GuardrailBroken`."""
        if self._conversations is None or not (values := vault.take_unsaved()):
            return
        try:
            await self._conversations.save(scope, values)
        except Exception as error:
            self.policy.failed(error, stage, exchange)

    def trusts(self, tool: str) -> bool:
        """Whether the tool receives the real values."""
        return EVERY_TOOL in self._tools or tool in self._tools

    def unmask(self, vault: Vault) -> Unmask:
        """The filter that restores values in one answer."""
        return Unmask(vault, self._tools)

    @property
    def slicer(self) -> Slicer:
        """Runs work that is too long for the event loop."""
        return self._search.slicer

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of values that it finds."""
        return self._search.kinds

    async def spans(self, text: str) -> Sequence[Span]:
        """All spans in a text, whatever action applies to them."""
        return (await self._search.find([text])).get(text, ())

    async def find(self, texts: Sequence[str], stage: Stage, exchange: Exchange) -> Mapping[str, Sequence[Span]]:
        """Returns the spans to mask in each text. Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`."""
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                spans_by_text = await self._search.find(texts, caller_of(exchange))
        except Exception as error:
            self.policy.failed(error, stage, exchange, sum(map(len, texts)))
            return {}
        if not spans_by_text:
            return {}
        self.policy.decide(Counter(span.kind for spans in spans_by_text.values() for span in spans), stage, exchange)
        if self.policy.shadow:
            return {}
        return {
            text: [span for span in spans if self.policy.action(span.kind) == "mask"]
            for text, spans in spans_by_text.items()
        }


def conversation_of(request: ChatRequest) -> str:
    """A digest of how a conversation began, which stays the same when each request repeats the conversation."""
    digest = hashlib.blake2b(digest_size=16)
    for message in request.messages:
        digest.update(message.role.encode() + b"\0" + message.text.encode("utf-8", "surrogatepass") + b"\0")
        if message.role == "user":
            break
    return digest.hexdigest()


class Masking:
    """The masking of one request: its vault, and the texts that have been masked."""

    def __init__(self, guard: PersonalGuard, vault: Vault, hint: bool, conversation: str = "") -> None:
        """`conversation` is the scope of a named conversation, whose earlier values are loaded; empty for none."""
        self.vault = vault
        self._conversation = conversation
        self._guard = guard
        self._hint = hint
        self._explained = False
        self._masked: set[str] = {_HINT_TEXT}

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """Returns the request with tags. Skips texts that have been masked before."""
        if not self._conversation:
            return await self._mask_request(request, exchange, stage)
        if stage == "input":
            await self._guard.load_values(self._conversation, self.vault, stage, exchange)
        masked = await self._mask_request(request, exchange, stage)
        await self._guard.save_values(self._conversation, self.vault, stage, exchange)
        return masked

    async def _mask_request(self, request: ChatRequest, exchange: Exchange, stage: Stage) -> ChatRequest:
        authors = {text: author for text, author in texts_of(request) if text not in self._masked}
        texts = list(authors)
        spans_by_text = dict(await self._guard.find(texts, stage, exchange))
        if unread := unread_parts(request):
            self._note_unread(unread, stage, exchange)
        explained = self._explained
        for text, spans in spans_by_text.items():
            for span in spans:
                self.vault.tag(span.kind, text[span.start : span.end])
        if not self.vault:
            return request
        kinds = {value: tag.strip("<>").rpartition("_")[0] for value, tag in self.vault.values().items()}
        for part in name_parts(value for value, kind in kinds.items() if kind == "PERSON"):
            kinds.setdefault(part, "PERSON")
        values = Values(kinds)

        def mask_all() -> dict[str, str]:
            return {text: self._mask(text, spans_by_text.get(text, ()), values, authors[text]) for text in texts}

        replaced = await self._guard.slicer.run(caller_of(exchange), sum(map(len, texts)), mask_all)

        def change(text: str, author: Author) -> str:
            masked = replaced.get(text, text)
            return masked if author != "label" else masked.replace("<", "").replace(">", "") if masked != text else text

        changed = map_text(request, change)
        self._masked |= set(replaced.values())
        if explained or not self._hint or changed is request:
            return changed
        self._explained = True
        return with_note(changed, _HINT)

    def _note_unread(self, count: int, stage: Stage, exchange: Exchange) -> None:
        from contract.finding import Finding

        name = self._guard.policy.name
        if stage == "input" and not any(
            each.guardrail == name and each.action == "unread" for each in exchange.findings
        ):
            exchange.findings.append(Finding(name, "picture, sound or file", "unread", stage, count))

    def _mask(self, text: str, spans: Sequence[Span], values: Values, author: Author) -> str:
        """Masks the spans of this text, values found elsewhere in the request, and text that looks like a tag.

        In the arguments of the model's own tool calls, tags are real and stay.
        """
        all_spans = list(spans)
        taken = TakenSpans(sorted(all_spans))
        all_spans += [span for span in values.find(text) if taken.take(span.start, span.end)]
        if author != "call":
            for start, end in literal_spans(text, all_spans, self.vault):
                all_spans.append(Span(start, end, LITERAL))
        elif not all_spans:
            return text
        return mask_text(text, sorted(all_spans), self.vault)

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """Returns the request with the original values, for recipients that may see them."""
        if not self.vault:
            return request
        request = msgspec.structs.replace(
            request, messages=tuple(each for each in request.messages if each is not _HINT)
        )
        return map_text(request, lambda text, _: self.vault.reveal(text))

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """Returns a tool's arguments with the original values, if the tool may receive them."""
        return self.vault.reveal(arguments, as_json) if self._guard.trusts(tool) else arguments

    def allows(self, text: str) -> bool:
        """Whether the caller sent the value `text`."""
        return text in self.vault.values()

    def filter(self) -> Unmask | None:
        """The filter that restores values in the answer; None if nothing was masked."""
        return self._guard.unmask(self.vault) if self.vault else None


def derive(secret: str) -> bytes:
    """Derives the key for tags from the configured secret."""
    return hmac.digest(b"gatehouse tags", secret.encode("utf-8", "surrogateescape"), hashlib.sha256)
