"""Replaces tool names that a vendor does not accept, and restores them in the response's calls."""

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

_DIGEST_CHARS = 8
# A pattern that never matches: no character is invalid.
NOTHING = r"(?!)"


class NameRule(msgspec.Struct, frozen=True):
    """The names or ids that a vendor accepts.

    `invalid` is a pattern of invalid characters, `first` a pattern of valid first characters (empty: any). `exact`: the
    length must be `max_length`, not less.
    """

    invalid: str
    max_length: int
    first: str = ""
    exact: bool = False

    def accepts(self, name: str) -> bool:
        """Whether the vendor accepts the name unchanged."""
        min_length = self.max_length if self.exact else 1
        if not min_length <= len(name) <= self.max_length or re.search(self.invalid, name):
            return False
        return not self.first or re.match(self.first, name) is not None

    def accepts_all(self, names: Collection[str]) -> bool:
        """Whether the vendor accepts all names unchanged."""
        if self.first or self.exact:
            return all(map(self.accepts, names))
        return (
            "" not in names and len(max(names, key=len, default="")) <= self.max_length and not self._has_invalid(names)
        )

    def _has_invalid(self, names: Collection[str]) -> bool:
        return re.search(self.invalid, "".join(names)) is not None

    def replacement(self, name: str, taken: Container[str]) -> str:
        """A valid name that is not in `taken`. The same name always has the same replacement, unless it is taken."""
        return next(candidate for candidate in self.candidates(name) if candidate not in taken)

    def candidates(self, name: str) -> Iterator[str]:
        """An endless, deterministic sequence of valid replacements for `name`."""
        plain = re.sub(self.invalid, "_", name)
        if self.first and not re.match(self.first, plain):
            plain = "_" + plain
        plain = plain[: self.max_length - _DIGEST_CHARS - 1]
        for tries in itertools.count():
            data = f"{name}\0{tries}" if tries else name
            digest = hashlib.blake2b(data.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_CHARS // 2 + self.exact)
            yield digest.hexdigest()[: self.max_length] if self.exact else f"{plain}_{digest.hexdigest()}"


# The names that all vendors accept.
EVERY_VENDOR = NameRule(r"[^a-zA-Z0-9_-]", 64, r"[a-zA-Z_]")


def digest(name: str) -> str:
    """A short, deterministic replacement for a name that is too long."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def fit_names(request: ChatRequest, rule: NameRule, losses: DroppedParams) -> tuple[ChatRequest, dict[str, str]]:
    """The request with valid names everywhere, and a map from the sent names to the caller's names."""
    names = _names(request)
    if rule.accepts_all(names):
        return request, {}
    taken = {name for name in names if rule.accepts(name)}
    sent: dict[str, str] = {}
    for name in [each for each in names if each not in taken]:
        sent[name] = rule.replacement(name, taken)
        taken.add(sent[name])
    losses.add_soft("tools[].name", "the vendor does not accept a name: a replacement was sent, and is undone in calls")
    return _renamed(request, sent), {after: before for before, after in sent.items()}


def _names(request: ChatRequest) -> dict[str, None]:
    """All tool names, in order."""
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


def restore_names(deltas: list[Delta], names: dict[str, str]) -> list[Delta]:
    """The deltas with the caller's tool names. `names` maps sent names to the caller's."""
    return [
        _restore_in_delta(delta, names)
        if any(call.name in names for choice in delta.choices for call in choice.tool_calls)
        else delta
        for delta in deltas
    ]


def _restore_in_delta(delta: Delta, names: dict[str, str]) -> Delta:
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
