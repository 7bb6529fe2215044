"""`sources`: documents to retrieve from, and what is asked for rows. The kind is read first, then its own options.

Here is what every kind has; each kind's options stand beside what it opens, in `rag/`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from config.document import Path as FilePath
from config.findings import wrong
from config.secret import Secret
from config.struct import Component, Label, Number, Ref, Struct, Whole
from config.units import Duration, Size

if TYPE_CHECKING:
    from contract.egress import Egress
    from contract.sources import LiveSource, Origin
    from contract.work import WorkPool


def folder_of(value: object, info: ValidationInfo) -> Path:
    """A path that starts at the file's folder."""
    if not isinstance(value, str) or not value:
        raise wrong("expected a path", "relative paths start at this file's folder")
    beside = info.context.get("folder", Path()) if info.context else Path()
    return (Path(beside) / value).resolve()


def _existing_folder(value: object, info: ValidationInfo) -> Path:
    path = folder_of(value, info)
    if not path.is_dir():
        beside = info.context.get("folder", Path()) if info.context else Path()
        raise wrong("there is no folder {value}", f"relative paths start at {beside}")
    return path


def _existing_file(value: object, info: ValidationInfo) -> Path:
    path = folder_of(value, info)
    if not path.is_file():
        raise wrong("there is no file {value}", "relative paths start at this file's folder")
    return path


ExistingFolder = Annotated[Path, BeforeValidator(_existing_folder), PlainSerializer(str)]
"""A folder, relative to the file."""
ExistingFile = Annotated[Path, BeforeValidator(_existing_file), PlainSerializer(str)]
"""A file, relative to the file."""


def postgres_address(value: object) -> object:
    """A text that is the address of a PostgreSQL."""
    if isinstance(value, str) and re.match(r"postgres(?:ql)?://.", value) is None:
        raise wrong("this is no address of a PostgreSQL", "write postgresql://user@host/name")
    return value


class ChunkConfig(Struct):
    """How documents are cut."""

    by: Literal["structure", "sentences", "tokens"] = Field(
        default="structure", description="Along headings and paragraphs, at sentences, or every so many tokens."
    )
    size: Whole = Field(
        default=1100, ge=50, le=20_000, description="At most; characters, or tokens where they are counted."
    )
    overlap: Whole = Field(default=0, ge=0, description="How much of a chunk the next one begins with.")


class ReadConfig(Struct):
    """What reading one document may take, in a process of its own. What takes more is an error, and is not kept."""

    renamed: ClassVar[Mapping[str, str]] = {"chunks": "max_chunks"}

    timeout: Duration = Field(default=60.0, description="Time, of the clock and of the processor.")
    memory: Size = Field(
        default=1024 * 1024 * 1024,
        ge=256_000_000,
        description="Memory of the process that reads; about 100 MB is its own.",
    )
    size: Size = Field(default=64 * 1024 * 1024, description="Of the file itself.")
    max_chunks: Whole = Field(default=50_000, ge=1, description="The most chunks of one document.")


class SearchConfig(Struct):
    """How a source is searched."""

    fusion: Literal["weighted", "ranks", "words", "meaning"] = Field(
        default="weighted",
        description="Words and meaning by weighted scores or by reciprocal ranks, or one of them alone.",
    )
    words_weight: Number = Field(default=0.3, ge=0, le=1, description="What the words count for; the rest is meaning.")
    feedback: Whole = Field(
        default=2, ge=0, le=10, description="Towards how many of those found first the question is moved; 0 none."
    )
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        default="auto", description="Of vectors: compared one by one up to 50,000, then by lists; or as it says."
    )
    language: str = Field(default="english", description="Whose word endings are taken off, in English.")


class EmbedderConfig(Struct):
    """An embedding model of the config's own, in place of the one that ships: a provider's, or one of this machine."""

    needs = (("model",), ("sentence_transformers",))

    model: Annotated[str, Ref("models", "model")] | None = Field(
        default=None, description="The embedding model, of `models`.", examples=["embed"]
    )
    sentence_transformers: Annotated[Path | None, BeforeValidator(_existing_folder), PlainSerializer(str)] = Field(
        default=None,
        description="Or the folder of a model of the library sentence-transformers, which must be installed.",
        examples=["./models/bge-small-en-v1.5"],
    )
    dimensions: Whole = Field(ge=1, le=16_384, description="How many numbers it gives a text.")

    @model_validator(mode="after")
    def _one_of_both(self) -> EmbedderConfig:
        if (self.model is None) == (self.sentence_transformers is None):
            raise wrong("there must be either a model or sentence_transformers", "give one of the two")
        return self


class SourceConfig(Component):
    """What every source has."""

    kind: str = Field(description="Where the documents come from.")
    labels: tuple[Label, ...] = Field(
        default=(),
        description="Only apps with one of these labels see its documents, whatever a document's own labels are; "
        "without any, every app.",
    )

    @property
    def where(self) -> str:
        """Where its documents or rows come from, in a few words for people."""
        return self.kind


class DocumentSourceConfig(SourceConfig):
    """What every source of documents has: they are read, cut, embedded, and searched."""

    # Whether documents are handed in, by HTTP and `gatehouse ingest`.
    takes_documents: ClassVar[bool] = False
    # Whether it asks hosts: it is opened anew when the way to them changes.
    asks_hosts: ClassVar[bool] = False

    store: Annotated[Secret | None, BeforeValidator(postgres_address)] = Field(
        default=None,
        description="A PostgreSQL that replicas share; without it a file on this machine.",
        examples=["${DATABASE_URL}"],
    )
    embedder: EmbedderConfig | None = Field(
        default=None, description="An embedding model of `models`; without it the one that ships (MiniLM)."
    )
    chunk: ChunkConfig = Field(default=ChunkConfig(), description="How documents are cut.")
    search: SearchConfig = Field(default=SearchConfig(), description="How it is searched.")
    read: ReadConfig = Field(default=ReadConfig(), description="What reading one document may take.")

    @property
    def made_from(self) -> str:
        """What tells its index from others where `server.data` names no place; empty: the file and its name."""
        return ""

    @abstractmethod
    def origin(self, egress: Egress) -> Origin | None:
        """Where its documents come from, `egress` being the way to other hosts; None where they are handed in."""

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[FilePath, str]]:
        """Its index; its store if replicas share one."""
        yield ("kind",), "retrieval"
        if values.get("store") is not None:
            yield ("store",), "postgres"


class SourceParts(Protocol):
    """What a process lends to a source that is asked each time."""

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        ...

    @property
    def pool(self) -> WorkPool:
        """Threads that wait for databases."""
        ...

    @property
    def egress(self) -> Egress:
        """The way to other hosts."""
        ...


class LiveSourceConfig(SourceConfig):
    """What every source has that is asked while the request waits."""

    @abstractmethod
    def open(self, name: str, parts: SourceParts) -> LiveSource:
        """The source, not yet started."""
