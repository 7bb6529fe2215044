"""Names of tools that fit a vendor: one that does not is written otherwise, and put back in the answer's calls."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Container, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from contract.messages import ChatRequest, Message, Part, Tool, ToolCall, ToolResult

if TYPE_CHECKING:
    from contract.deltas import Delta
    from gateway.dialects.dropped_params import DroppedParams

_DIGEST_LETTERS = 8
# No letter is strange.
NOTHING = r"(?!)"


class NameRule(msgspec.Struct, frozen=True):
    """What a vendor takes as a name or an id: the letters that are `strange` to it, and how many it may have at most.

    `first` are the letters that it may begin with, as a pattern; empty: any. `exact`: it has `most` letters, no fewer.
    """

    strange: str
    most: int
    first: str = ""
    exact: bool = False

    def fits(self, name: str) -> bool:
        """Whether the vendor takes it as it is."""
        least = self.most if self.exact else 1
        if not least <= len(name) <= self.most or re.search(self.strange, name):
            return False
        return not self.first or re.match(self.first, name) is not None

    def fit(self, names: Collection[str]) -> bool:
        """Whether the vendor takes all of them."""
        if self.first or self.exact:
            return all(map(self.fits, names))
        return "" not in names and len(max(names, key=len, default="")) <= self.most and not self._strange_in(names)

    def _strange_in(self, names: Collection[str]) -> bool:
        return re.search(self.strange, "".join(names)) is not None

    def fitted(self, name: str, taken: Container[str]) -> str:
        """A name that fits and is not taken. The same name always gives the same, as long as that is free."""
        return next(made for made in self.candidates(name) if made not in taken)

    def candidates(self, name: str) -> Iterator[str]:
        """Names that fit in place of `name`, without an end, always the same in the same order."""
        plain = re.sub(self.strange, "_", name)
        if self.first and not re.match(self.first, plain):
            plain = "_" + plain
        plain = plain[: self.most - _DIGEST_LETTERS - 1]
        for tries in itertools.count():
            data = f"{name}\0{tries}" if tries else name
            digest = hashlib.blake2b(
                data.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_LETTERS // 2 + self.exact
            )
            yield digest.hexdigest()[: self.most] if self.exact else f"{plain}_{digest.hexdigest()}"


# What all vendors take.
EVERY_VENDOR = NameRule(r"[^a-zA-Z0-9_-]", 64, r"[a-zA-Z_]")


def digest(name: str) -> str:
    """A short stand-in for a name that is too long, always the same for the same."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def fit_names(request: ChatRequest, rule: NameRule, losses: DroppedParams) -> tuple[ChatRequest, dict[str, str]]:
    """The request with names that fit, everywhere where one stands; and the caller's names by those that were sent."""
    names = _names(request)
    if rule.fit(names):
        return request, {}
    taken = {name for name in names if rule.fits(name)}
    sent: dict[str, str] = {}
    for name in [each for each in names if each not in taken]:
        sent[name] = rule.fitted(name, taken)
        taken.add(sent[name])
    losses.add_soft("tools[].name", "a name that the vendor refuses was sent as another, and is put back in the answer")
    return _renamed(request, sent), {after: before for before, after in sent.items()}


def _names(request: ChatRequest) -> dict[str, None]:
    """All names of tools, in their order."""
    names = {tool.name: None for tool in request.tools if isinstance(tool, Tool)}
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall) or (isinstance(part, ToolResult) and part.name):
                names[part.name] = None
    choice = request.tool_choice
    if choice is not None and choice.mode == "named":
        names[choice.name] = None
    return names


def _renamed(request: ChatRequest, sent: dict[str, str]) -> ChatRequest:
    choice = request.tool_choice
    if choice is not None and choice.name in sent:
        choice = msgspec.structs.replace(choice, name=sent[choice.name])
    return msgspec.structs.replace(
        request,
        tools=tuple([_rename(tool, sent) for tool in request.tools]),
        messages=tuple([_rename_in(message, sent) for message in request.messages]),
        tool_choice=choice,
    )


def _rename_in(message: Message, sent: dict[str, str]) -> Message:
    parts = tuple([_rename(part, sent) for part in message.parts])
    return msgspec.structs.replace(message, parts=parts) if parts != message.parts else message


_Named = TypeVar("_Named", bound=Tool | Part)


def _rename(named: _Named, sent: dict[str, str]) -> _Named:
    after = sent.get(named.name) if isinstance(named, (Tool, ToolCall, ToolResult)) else None
    return named if after is None else msgspec.structs.replace(named, name=after)


def put_back(deltas: list[Delta], names: dict[str, str]) -> list[Delta]:
    """The deltas of an answer with the caller's own names; `names` are those by the ones that were sent."""
    return [
        _put_back_in(delta, names)
        if any(call.name in names for choice in delta.choices for call in choice.tool_calls)
        else delta
        for delta in deltas
    ]


def _put_back_in(delta: Delta, names: dict[str, str]) -> Delta:
    choices = tuple(
        [
            msgspec.structs.replace(
                choice,
                tool_calls=tuple(
                    [msgspec.structs.replace(call, name=names.get(call.name, call.name)) for call in choice.tool_calls]
                ),
            )
            for choice in delta.choices
        ]
    )
    return msgspec.structs.replace(delta, choices=choices, raw=b"")
