"""Components by `kind`: each config is next to its component, and is imported when a file names the kind.

The envelope (`kind`, the entry's name) is read first; the kind selects the struct that reads the options. The
composition root and installed plug-in packages define the kinds.
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
# Marks the place in a schema where `schema` inserts every kind of a seam.
PLACEHOLDER = "x-gatehouse-seam"
# Marks the place in a schema where `schema` inserts a list of names.
NAMES = "x-gatehouse-names"


@dataclass(frozen=True)
class Seam:
    """The kinds of one seam as `module:Class`, and their base class."""

    base: str
    kinds: Mapping[str, str]


@dataclass(frozen=True)
class KindEntry:
    """One kind: where it is defined, its package (empty for built-in kinds), and why it can't be used."""

    seam: str
    kind: str
    place: str
    package: str = ""
    version: str = ""
    problem: str = ""


class Kinds:
    """The known kinds. Built-in kinds come first: a package can't replace one of them."""

    def __init__(self, seams: Mapping[str, Seam], listed: Mapping[str, Sequence[str]] | None = None) -> None:
        """`listed` are names of things without options, such as surfaces."""
        self._seams = seams
        self.listed = listed or {}
        self._loaded: dict[tuple[str, str], type[Component]] = {}
        self._plugins: list[EntryPoint] | None = None

    @property
    def seams(self) -> list[str]:
        """The names of the seams."""
        return list(self._seams)

    def struct(self, seam: str, kind: object) -> type[Component] | None:
        """The config class of a kind; None if unknown. Raises a pydantic error for a broken plug-in."""
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
        """All kinds of a seam, the built-in kinds first."""
        return [*self._seams[seam].kinds, *self._plugins_of(seam)]

    def structs(self, seam: str, *, plugins: bool = False) -> dict[str, type[Component]]:
        """The config classes of built-in kinds and of loaded plug-ins; with `plugins`, of all plug-ins that load.

        The code of a plug-in runs only if a file names it, or with `plugins`.
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
        """Yields all kinds by seam: built-in ones, then those of packages, broken or not. Imports the plug-ins."""
        for seam, known in self._seams.items():
            yield from (KindEntry(seam, kind, place) for kind, place in known.kinds.items())
            yield from (self._offer(seam, each) for each in self._entry_points() if each.group == _group(seam))
        groups = {_group(seam) for seam in self._seams}
        for each in self._entry_points():
            if each.group not in groups:
                seam = each.group.removeprefix(f"{ENTRY_POINTS}.")
                yield self._offer(seam, each, f"there is no extension point {seam}: {did_you_mean(seam, self._seams)}")

    def _offer(self, seam: str, plugin: EntryPoint, problem: str = "") -> KindEntry:
        if not problem and plugin.name in self._seams[seam].kinds:
            problem = f"{plugin.name} is a built-in kind: choose another name"
        if not problem:
            try:
                self.struct(seam, plugin.name)
            except PydanticCustomError as error:
                problem = str((error.context or {})["message"])
        package, version = (plugin.dist.name, plugin.dist.version) if plugin.dist is not None else ("unknown", "")
        return KindEntry(seam, plugin.name, plugin.value, package, version, problem)

    def _entry_points(self) -> list[EntryPoint]:
        # Scanning the installed packages takes about 20 ms, so it happens only if a kind is not built-in.
        if self._plugins is None:
            found = entry_points()
            groups = sorted(group for group in found.groups if group.startswith(f"{ENTRY_POINTS}."))
            offered = (each for group in groups for each in found.select(group=group))
            self._plugins = sorted(offered, key=lambda each: (each.name, each.value))
        return self._plugins

    def _plugins_of(self, seam: str) -> dict[str, list[EntryPoint]]:
        """Entry points by kind; a kind has several if several packages define it."""
        found: dict[str, list[EntryPoint]] = {}
        for each in self._entry_points():
            if each.group == _group(seam) and each.name not in self._seams[seam].kinds:
                found.setdefault(each.name, []).append(each)
        return found

    def _load_plugin(self, seam: str, plugins: Sequence[EntryPoint]) -> type[Component]:
        plugin, *others = plugins
        if others:
            packages = " and ".join(sorted(each.dist.name if each.dist is not None else each.value for each in plugins))
            raise wrong(f"several packages define this kind: {packages}", "uninstall all but one of them")
        try:
            found = plugin.load()
        except (Exception, SystemExit) as error:
            # A plug-in may raise anything; the file's other errors must still be reported.
            message = f"the plug-in {plugin.value} can't be loaded: {type(error).__name__}: {error}".replace("{", "(")
            raise wrong(message, "install its dependencies, or contact its author") from error
        base = _load(self._seams[seam].base)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise wrong(
                f"the plug-in {plugin.value} is not a subclass of {base.__name__}", "contact its author"
            ) from None
        if missing := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
            raise wrong(f"the plug-in {plugin.value} does not implement {missing}", "contact its author")
        if plugin.name not in get_args(found.model_fields["kind"].annotation):
            message = f"the kind of the plug-in {plugin.value} differs from its entry point {plugin.name}"
            raise wrong(message, "contact its author")
        try:
            TypeAdapter(found).json_schema()
        except PydanticUserError as error:
            message = f"the plug-in {plugin.value} has options that a file can't set: {error.code}"
            raise wrong(message, "contact its author") from error
        return found


def _group(seam: str) -> str:
    return f"{ENTRY_POINTS}.{seam}"


def _load(place: str) -> type[Component]:
    module, _, name = place.partition(":")
    found: type[Component] = getattr(importlib.import_module(module), name)
    return found


@dataclass(frozen=True)
class ComponentField:
    """Marks a field that holds a component's config. `default` is the kind if the entry names none."""

    seam: str
    default: str = ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads the kind, then the options with the kind's own struct."""
        return core_schema.with_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(_write, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A placeholder that `config.display.schema` replaces by all kinds of the seam."""
        return {PLACEHOLDER: self.seam}

    def kind_of(self, value: Mapping[str, Any]) -> object:
        """The kind that a mapping names, or the default."""
        return value.get("kind", self.default or None)

    def _read(self, value: Any, info: ValidationInfo) -> Component:
        if isinstance(value, Component):
            return value
        kinds = (info.context or {}).get("kinds")
        if not isinstance(kinds, Kinds):
            raise TypeError("a config needs its kinds as validation context: see `config.loading.load`")
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_type", {"class_name": "Component"})
        if "kind" not in value:
            if not self.default:
                raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
            value = {"kind": self.default, **value}
        try:
            struct = kinds.struct(self.seam, value["kind"])
        except PydanticCustomError as error:
            # The plug-in is broken: the error belongs to the key `kind`, not to the entry.
            details = InitErrorDetails(type=error, loc=("kind",), input=value["kind"])
            raise ValidationError.from_exception_data("Component", [details]) from None
        if struct is None:
            context = {"discriminator": "'kind'", "tag": str(value["kind"]), "expected_tags": ""}
            raise PydanticKnownError("union_tag_invalid", context)
        try:
            return struct.model_validate(value, context=info.context)
        except ValidationError:
            raise
        except Exception as error:
            # The error's text may contain values of the file.
            message = f"the check of its options failed: {type(error).__name__} in {struct.__module__}"
            raise wrong(message, "report it to the author of this kind") from error


@dataclass(frozen=True)
class OneOf:
    """Marks text that must be one of the names in `listed`."""

    listed: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads text, then checks that it is one of the names."""
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A placeholder for the names, as `ComponentField` has for structs."""
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
    """Adds the component's name to errors of opening it that would mean nothing to an operator."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{section}.{name} can't be opened: {type(error).__name__}: {error}") from error


def seam_of(markers: tuple[Any, ...]) -> ComponentField | None:
    """The `ComponentField` among a field's markers; None if there is none."""
    return next((each for each in markers if isinstance(each, ComponentField)), None)
