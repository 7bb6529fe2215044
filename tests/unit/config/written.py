"""Configurations as people may write them, drawn from the structs: short forms, references, units."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from config.prices import ListedPrice
from config.secret import Secret
from config.shape import choices, fields, unwrap
from config.struct import Checked, Coerce, Ref, Struct
from config.units import Unit
from gateway.assembly.catalog import KINDS

# Names that every configuration here has, by section.
NAMES = {
    "providers": "p", "models": "m", "pipelines": "l", "guardrails": "g", "caches": "c", "routers": "r", "sources": "s",
    "tools": "t", "organisations": "o", "teams": "d", "apps": "a",
}  # fmt: skip
ENVIRON = {"TEXT": "some-text-of-32-characters-or-more", "WHOLE": "7", "FLAG": "true", "TIME": "20s", "SHARE": "0.5"}
_UNITS = {
    "duration": ["20s", "500ms", "5 m", "1.5h", "7d", "${TIME}", "${N:-3}s"],
    "size": ["300MB", "1 GiB", "300000kB", "${N:-300}MB"],
    "percentage": ["0.5%", "85%", "100 %", "${N:-3}%"],
    "count of tokens": ["3000 tokens", "1 token", "${N:-30} tokens"],
}
# What fields of plain text must hold, where more than the type decides.
_TEXTS: dict[str, list[str | None]] = {
    "listen": ["127.0.0.1:8080", "${HOST:-127.0.0.1}:80"], "zone": ["UTC", "Europe/Berlin"], "time_zone": ["UTC"],
    "api_version": ["2024-10-21"], "version": ["v1beta"], "hours": ["08:00-18:00"], "path": ["."], "data": ["."],
    "jwks_file": ["keys.json"], "sentence_transformers": ["."], "redis": ["redis://h:6379/0", None, "${NONE:-}"],
    "database": ["sqlite:///x.db", "postgresql://u@h/d", "${NONE:-}"], "store": ["postgresql://u@h/d"],
    "url": ["postgresql://u@h/d"], "webhook": ["https://hooks.example.com/x"], "app_claim": ["azp"],
    "pepper": ["${TEXT}"], "key": ["${TEXT}", "os.environ/TEXT"],
}  # fmt: skip


def value_of(annotation: Any, markers: tuple[Any, ...] = (), name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    """What may stand where a field of this type is read."""
    by_kind = choices(annotation, KINDS)
    if by_kind:
        return st.one_of([struct_of(struct, depth + 1) for struct in by_kind.values()])
    annotation, markers = unwrap(annotation, markers)
    for marker in markers:
        if isinstance(marker, Unit):
            return st.sampled_from(_UNITS[marker.name])
        if isinstance(marker, Ref):
            return st.sampled_from([f"{NAMES[marker.section]}/x" if marker.prefix else NAMES[marker.section]])
        if isinstance(marker, ListedPrice):
            return st.sampled_from(["free", "openai/gpt-4o"])
    made = _by_type(annotation, markers, name, depth)
    several = get_origin(annotation) is tuple and any(isinstance(each, Coerce) for each in markers)
    if several and name != "script":
        one = value_of(get_args(annotation)[0], (), name, depth)
        return st.one_of(made, one) if name != "models" else st.one_of(made, st.just("*"))
    return made


def _by_type(annotation: Any, markers: tuple[Any, ...], name: str, depth: int) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return struct_of(annotation, depth + 1)
    if origin is Literal:
        return st.sampled_from([*arguments])
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is not Ellipsis:
            return st.just([0.2, "${SHARE}"])
        least = 20 if name == "allowed" else 5 if name == "examples" else 1
        return st.lists(value_of(arguments[0], (), name, depth), min_size=least, max_size=max(2, least))
    if origin is dict:
        return st.dictionaries(_names(name), value_of(arguments[1], (), "", depth), min_size=1, max_size=2)
    return _plain(annotation, markers, name)


def _names(field: str) -> st.SearchStrategy[str]:
    known = {
        "types": ["email", "card"],
        "currencies": ["EUR", "GBP"],
        "prices": ["p/x", "p/*"],
        "service_tiers": ["flex"],
    }
    return st.sampled_from(known.get(field, ["one", "two"]))


def _plain(annotation: Any, markers: tuple[Any, ...], name: str) -> st.SearchStrategy[Any]:
    patterns = [each.pattern for each in markers if isinstance(each, Checked)]
    if name in _TEXTS:
        return st.sampled_from([each for each in _TEXTS[name] if not patterns or "http" not in patterns[0]] or _URLS)
    if patterns and "http" in patterns[0]:
        return st.sampled_from(_URLS)
    if annotation is bool:
        return st.sampled_from([True, False, "${FLAG}", "${NONE:-true}"])
    if annotation is int:
        return st.sampled_from([1, 2, 7, 300, "${WHOLE}"])
    if annotation is float:
        return st.sampled_from([0.5, 1, 0.25, "${SHARE}"])
    if annotation is Secret:
        return st.sampled_from(["${TEXT}", "os.environ/TEXT", "x" * 40])
    described = repr(markers)
    if "_dollars" in described:
        return st.sampled_from([2.5, 3, "2.50", "1000 USD", "${WHOLE}"])
    if "read_rate" in described:
        return st.sampled_from(["600 per minute", "1 per day", "${NONE:-5 per hour}"])
    if "_read_spend" in described:
        return st.sampled_from(["5 USD per day", "0.5 USD in 3 days", "${NONE:-5 USD per week}"])
    if "_rate_of_exchange" in described:
        return st.just("1.08 USD")
    if "_day" in described:
        return st.just("2027-01-01")
    if "_network" in described:
        return st.just("10.0.0.0/8")
    if "_step" in described:
        return st.sampled_from(["flag", "block", "say no", "human", "retry 1", "${NONE:-block}"])
    return st.sampled_from(["words", "${TEXT}", "two words"])


_URLS = ["https://example.com/a", "http://127.0.0.1:9/v1", "${NONE:-http://x}/v1"]


@st.composite
def struct_of(draw: st.DrawFn, struct: type[Struct], depth: int = 0) -> Any:
    """A mapping with the fields that it needs and some of the others, or its short form."""
    known = fields(struct)
    if struct.shorthand and draw(st.booleans()):
        info = known[struct.shorthand]
        return draw(value_of(info.annotation, tuple(info.metadata), struct.shorthand, depth))
    wanted = {name for name, info in known.items() if info.is_required()}
    if struct.needs:
        wanted |= set(draw(st.sampled_from(struct.needs)))
    others = sorted(set(known) - wanted)
    most = 3 if depth < 3 else 1
    wanted |= set(draw(st.lists(st.sampled_from(others), max_size=most, unique=True))) if others else set()
    return {name: draw(_field(known[name], name, depth)) for name in sorted(wanted)}


def _field(info: FieldInfo, name: str, depth: int) -> st.SearchStrategy[Any]:
    return value_of(info.annotation, tuple(info.metadata), name, depth)
