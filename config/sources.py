"""`sources`: documents and databases to retrieve from.

This module has the options of every kind; each kind's own options are next to its source, in `rag/`.
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
    """The path, relative to the folder of the config file."""
    if not isinstance(value, str) or not value:
        raise wrong("this must be a path", "write a path; relative paths start at the folder of this file")
    beside = info.context.get("folder", Path()) if info.context else Path()
    return (Path(beside) / value).resolve()


def _existing_folder(value: object, info: ValidationInfo) -> Path:
    path = folder_of(value, info)
    if not path.is_dir():
        beside = info.context.get("folder", Path()) if info.context else Path()
        raise wrong("the folder {value} does not exist", f"relative paths start at {beside}")
    return path


def _existing_file(value: object, info: ValidationInfo) -> Path:
    path = folder_of(value, info)
    if not path.is_file():
        raise wrong("the file {value} does not exist", "relative paths start at the folder of this file")
    return path


ExistingFolder = Annotated[Path, BeforeValidator(_existing_folder), PlainSerializer(str)]
"""An existing folder, relative to the config file."""
ExistingFile = Annotated[Path, BeforeValidator(_existing_file), PlainSerializer(str)]
"""An existing file, relative to the config file."""


def postgres_address(value: object) -> object:
    """Returns the value. Raises a config error if it is text, but not a PostgreSQL URL."""
    if isinstance(value, str) and re.match(r"postgres(?:ql)?://.", value) is None:
        raise wrong("this is not a PostgreSQL URL", "write postgresql://user@host/name")
    return value


class ChunkConfig(Struct):
    """How documents are split into chunks."""

    by: Literal["structure", "sentences", "tokens"] = Field(
        default="structure",
        description="Where to split: at headings and paragraphs, at sentences, or after a number of tokens.",
    )
    size: Whole = Field(
        default=1100, ge=50, le=20_000, description="The largest chunk, in characters; in tokens with `by: tokens`."
    )
    overlap: Whole = Field(
        default=0, ge=0, description="How much of the end of a chunk the next one repeats, in the unit of `size`."
    )


class ReadConfig(Struct):
    """Limits for parsing one document, in a separate process. A document beyond a limit is an error and not indexed."""

    renamed: ClassVar[Mapping[str, str]] = {"chunks": "max_chunks"}

    timeout: Duration = Field(default=60.0, description="Time limit: wall clock and CPU time.")
    memory: Size = Field(
        default=1024 * 1024 * 1024,
        ge=256_000_000,
        description="Memory limit of the parsing process; the process itself needs about 100 MB.",
    )
    size: Size = Field(default=64 * 1024 * 1024, description="The largest file.")
    max_chunks: Whole = Field(default=50_000, ge=1, description="The most chunks of one document.")


class SearchConfig(Struct):
    """How a source is searched."""

    fusion: Literal["weighted", "ranks", "words", "meaning"] = Field(
        default="weighted",
        description="Combine full-text and vector search by weighted scores or by reciprocal ranks, or use one alone: "
        "`words` is full-text, `meaning` is vector search.",
    )
    words_weight: Number = Field(
        default=0.3, ge=0, le=1, description="The weight of full-text search; vector search has the rest."
    )
    feedback: Whole = Field(
        default=2, ge=0, le=10, description="How many top results pseudo-relevance feedback uses; 0 disables it."
    )
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        default="auto", description="The vector index. `auto` is `flat` up to 50,000 vectors, then `ivf`."
    )
    language: str = Field(default="english", description="The language of the stemmer, by its English name.")


class EmbedderConfig(Struct):
    """An embedding model instead of the bundled one: a provider's, or one on this machine."""

    needs = (("model",), ("sentence_transformers",))

    model: Annotated[str, Ref("models", "model")] | None = Field(
        default=None, description="The embedding model, from `models`.", examples=["embed"]
    )
    sentence_transformers: Annotated[Path | None, BeforeValidator(_existing_folder), PlainSerializer(str)] = Field(
        default=None,
        description="Or the folder of a sentence-transformers model; the library must be installed.",
        examples=["./models/bge-small-en-v1.5"],
    )
    dimensions: Whole = Field(ge=1, le=16_384, description="The number of dimensions of its vectors.")

    @model_validator(mode="after")
    def _one_of_both(self) -> EmbedderConfig:
        if (self.model is None) == (self.sentence_transformers is None):
            raise wrong("set either model or sentence_transformers", "give one of the two")
        return self


class SourceConfig(Component):
    """Options of every source."""

    kind: str = Field(description="The kind of source.")
    labels: tuple[Label, ...] = Field(
        default=(),
        description="Only apps with one of these labels see the documents of this source, whatever labels a document "
        "has; empty means every app.",
    )

    @property
    def where(self) -> str:
        """Where its documents or rows come from, as a short text for people."""
        return self.kind


class DocumentSourceConfig(SourceConfig):
    """Options of every source of documents, which are parsed, chunked, embedded and searched."""

    # Whether documents are uploaded, by HTTP and `gatehouse ingest`.
    takes_documents: ClassVar[bool] = False
    # Whether it calls hosts: then it is reopened when the proxies change.
    asks_hosts: ClassVar[bool] = False

    store: Annotated[Secret | None, BeforeValidator(postgres_address)] = Field(
        default=None,
        description="A PostgreSQL database that replicas share; by default a file on this machine.",
        examples=["${DATABASE_URL}"],
    )
    embedder: EmbedderConfig | None = Field(
        default=None, description="The embedding model; by default the bundled one (MiniLM)."
    )
    chunk: ChunkConfig = Field(default=ChunkConfig(), description="How documents are split into chunks.")
    search: SearchConfig = Field(default=SearchConfig(), description="How the source is searched.")
    read: ReadConfig = Field(default=ReadConfig(), description="Limits for parsing one document.")

    @property
    def made_from(self) -> str:
        """What distinguishes its index from others if `server.data` is not set; empty: the config file and its name."""
        return ""

    @abstractmethod
    def origin(self, egress: Egress) -> Origin | None:
        """Returns the origin of its documents, reached through `egress`; None if documents are uploaded."""

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[FilePath, str]]:
        """Its index, and its store if replicas share one."""
        yield ("kind",), "retrieval"
        if values.get("store") is not None:
            yield ("store",), "postgres"


class SourceParts(Protocol):
    """What a process provides to a live source."""

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
        """The proxies of outbound calls."""
        ...


class LiveSourceConfig(SourceConfig):
    """Options of every live source: one that is queried during the request."""

    @abstractmethod
    def open(self, name: str, parts: SourceParts) -> LiveSource:
        """Returns the source, not yet started."""
