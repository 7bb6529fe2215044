"""Components by `kind`: their configs stand beside them, and are imported when a file names them.

The envelope (`kind`, the entry's name) is read first; the kind says which struct reads the options. Which kinds there
are is the composition root's to say, and that of packages that are installed beside Gatehouse.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from pydantic import (
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PydanticUserError,
    SerializationInfo,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError, core_schema

from config.findings import did_you_mean, wrong
from config.struct import Component

# Other packages offer components under `gatehouse.guardrails`, `gatehouse.tools`, ...
ENTRY_POINTS = "gatehouse"
# Where a schema has every kind of a seam: `schema` puts them in.
PLACEHOLDER = "x-gatehouse-seam"
# The same where a text must be one of the names of something.
NAMES = "x-gatehouse-names"


@dataclass(frozen=True)
class Seam:
    """The kinds of one seam as `module:Class`, and the class that each of them is made from."""

    base: str
    kinds: Mapping[str, str]


@dataclass(frozen=True)
class KindEntry:
    """One kind: where it is defined, the package that brings it (empty for our own), and why it can't be used."""

    seam: str
    kind: str
    place: str
    package: str = ""
    version: str = ""
    problem: str = ""


class Kinds:
    """What kinds there are. Ours come first: no package can take the place of one of them."""

    def __init__(self, seams: Mapping[str, Seam], listed: Mapping[str, Sequence[str]] | None = None) -> None:
        """`listed` are names of what has no options, such as surfaces."""
        self._seams = seams
        self.listed = listed or {}
        self._loaded: dict[tuple[str, str], type[Component]] = {}
        self._plugins: list[EntryPoint] | None = None

    @property
    def seams(self) -> list[str]:
        """Their names."""
        return list(self._seams)

    def struct(self, seam: str, kind: object) -> type[Component] | None:
        """The config of a kind; None where there is none. Raises pydantic's error for a plug-in that is broken."""
        if not isinstance(kind, str):
            return None
        known = self._loaded.get((seam, kind))
        if known is None:
            place = self._seams[seam].kinds.get(kind)
            plugins = self._plugins_of(seam).get(kind) if place is None else None
            if place is not None:
                known = _load(place)
            elif plugins:
                known = self._load_plugin(seam, plugins)
            else:
                return None
            self._loaded[(seam, kind)] = known
        return known

    def names(self, seam: str) -> list[str]:
        """All kinds of a seam, ours first."""
        return [*self._seams[seam].kinds, *self._plugins_of(seam)]

    def structs(self, seam: str, *, plugins: bool = False) -> dict[str, type[Component]]:
        """The config of each of our kinds and of plug-ins that were loaded; with `plugins` of all that can be.

        A file that does not name a plug-in never runs its code.
        """
        loaded = [kind for of, kind in self._loaded if of == seam]
        found: dict[str, type[Component]] = {}
        for kind in self.names(seam) if plugins else dict.fromkeys([*self._seams[seam].kinds, *loaded]):
            try:
                struct = self.struct(seam, kind)
            except ValueError:
                continue
            if struct is not None:
                found[kind] = struct
        return found

    def offers(self) -> Iterator[KindEntry]:
        """Everything there is, by seam: ours, then what packages bring, broken or not. Imports what packages bring."""
        for seam, known in self._seams.items():
            yield from (KindEntry(seam, kind, place) for kind, place in known.kinds.items())
            yield from (self._offer(seam, each) for each in self._entry_points() if each.group == _group(seam))
        groups = {_group(seam) for seam in self._seams}
        for each in self._entry_points():
            if each.group not in groups:
                seam = each.group.removeprefix(f"{ENTRY_POINTS}.")
                yield self._offer(
                    seam, each, f"there is nothing to add to called {seam}: {did_you_mean(seam, self._seams)}"
                )

    def _offer(self, seam: str, plugin: EntryPoint, problem: str = "") -> KindEntry:
        if not problem and plugin.name in self._seams[seam].kinds:
            problem = f"there is a kind {plugin.name} of ours: choose another name"
        if not problem:
            try:
                self.struct(seam, plugin.name)
            except PydanticCustomError as error:
                problem = str((error.context or {})["message"])
        package, version = (plugin.dist.name, plugin.dist.version) if plugin.dist is not None else ("unknown", "")
        return KindEntry(seam, plugin.name, plugin.value, package, version, problem)

    def _entry_points(self) -> list[EntryPoint]:
        # Looking through the installed packages takes some 20 ms: only where a kind is none of ours.
        if self._plugins is None:
            found = entry_points()
            groups = sorted(group for group in found.groups if group.startswith(f"{ENTRY_POINTS}."))
            offered = (each for group in groups for each in found.select(group=group))
            self._plugins = sorted(offered, key=lambda each: (each.name, each.value))
        return self._plugins

    def _plugins_of(self, seam: str) -> dict[str, list[EntryPoint]]:
        """By kind: more than one where several packages bring it."""
        found: dict[str, list[EntryPoint]] = {}
        for each in self._entry_points():
            if each.group == _group(seam) and each.name not in self._seams[seam].kinds:
                found.setdefault(each.name, []).append(each)
        return found

    def _load_plugin(self, seam: str, plugins: Sequence[EntryPoint]) -> type[Component]:
        plugin, *others = plugins
        if others:
            packages = " and ".join(sorted(each.dist.name if each.dist is not None else each.value for each in plugins))
            raise wrong(f"several packages bring it: {packages}", "uninstall all but one of them")
        try:
            found = plugin.load()
        except (Exception, SystemExit) as error:
            # Whatever a stranger's module raises, the file's other mistakes are told as well.
            message = f"the plug-in {plugin.value} can't be loaded: {type(error).__name__}: {error}".replace("{", "(")
            raise wrong(message, "install what it needs, or ask its author") from error
        base = _load(self._seams[seam].base)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise wrong(f"the plug-in {plugin.value} is no {base.__name__}", "ask its author") from None
        if lacking := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
            raise wrong(f"the plug-in {plugin.value} lacks {lacking}", "ask its author")
        if plugin.name not in get_args(found.model_fields["kind"].annotation):
            message = f"the plug-in {plugin.value} is of another kind than its entry point {plugin.name}"
            raise wrong(message, "ask its author")
        try:
            TypeAdapter(found).json_schema()
        except PydanticUserError as error:
            message = f"the plug-in {plugin.value} has options that no file can give: {error.code}"
            raise wrong(message, "ask its author") from error
        return found


def _group(seam: str) -> str:
    return f"{ENTRY_POINTS}.{seam}"


def _load(place: str) -> type[Component]:
    module, _, name = place.partition(":")
    found: type[Component] = getattr(importlib.import_module(module), name)
    return found


@dataclass(frozen=True)
class ComponentField:
    """Marks a field that holds a component's config. `usual` is the kind of one that names none."""

    seam: str
    usual: str = ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads the kind, then the options by the kind's own struct."""
        return core_schema.with_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(_write, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A place that is filled with all kinds of the seam, which only `config.display.schema` knows."""
        return {PLACEHOLDER: self.seam}

    def kind_of(self, value: Mapping[str, Any]) -> object:
        """The kind that a mapping names, or the usual one."""
        return value.get("kind", self.usual or None)

    def _read(self, value: Any, info: ValidationInfo) -> Component:
        if isinstance(value, Component):
            return value
        kinds = (info.context or {}).get("kinds")
        if not isinstance(kinds, Kinds):
            raise TypeError("a config is read with its kinds as context: see `config.load`")
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_type", {"class_name": "Component"})
        if "kind" not in value:
            if not self.usual:
                raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
            value = {"kind": self.usual, **value}
        try:
            struct = kinds.struct(self.seam, value["kind"])
        except PydanticCustomError as error:
            # A plug-in that is broken: the mistake is the kind's, not the whole entry's.
            told = InitErrorDetails(type=error, loc=("kind",), input=value["kind"])
            raise ValidationError.from_exception_data("Component", [told]) from None
        if struct is None:
            context = {"discriminator": "'kind'", "tag": str(value["kind"]), "expected_tags": ""}
            raise PydanticKnownError("union_tag_invalid", context)
        try:
            return struct.model_validate(value, context=info.context)
        except ValidationError:
            raise
        except Exception as error:
            # Its text may hold what stands in the file.
            message = f"what checks its options has failed: {type(error).__name__} in {struct.__module__}"
            raise wrong(message, "tell the author of this kind") from error


@dataclass(frozen=True)
class OneOf:
    """Marks a text that is one of the names of what is `listed`."""

    listed: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads a text, then looks for it among the names."""
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A place for the names, as `ComponentField` has one for structs."""
        return {NAMES: self.listed}

    def _check(self, value: str, info: ValidationInfo) -> str:
        kinds = (info.context or {}).get("kinds")
        if isinstance(kinds, Kinds) and value not in (known := kinds.listed.get(self.listed, ())):
            *others, last = [f"'{each}'" for each in known] or ["nothing"]
            expected = f"{', '.join(others)} or {last}" if others else last
            raise PydanticKnownError("literal_error", {"expected": expected})
        return value


def _write(value: Component, info: SerializationInfo) -> dict[str, Any]:
    return value.model_dump(
        mode=info.mode, by_alias=info.by_alias, exclude_none=info.exclude_none, exclude_defaults=info.exclude_defaults
    )


@contextlib.contextmanager
def opening(section: str, name: str) -> Iterator[None]:
    """Says which component could not be opened, where that fails with an error that says nothing to an operator."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{section}.{name} can't be opened: {type(error).__name__}: {error}") from error


def seam_of(markers: tuple[Any, ...]) -> ComponentField | None:
    """The mark of a component's field among a field's markers."""
    return next((each for each in markers if isinstance(each, ComponentField)), None)
