"""`sources`: documents to retrieve from. The kind is read first, then the kind's own options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from config.findings import wrong
from config.secret import Secret
from config.struct import Component, Flag, Label, Name, Number, PageUrl, Ref, Struct, Whole
from config.units import Duration, Pause, Size


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

    timeout: Duration = Field(default=60.0, description="Time, of the clock and of the processor.")
    memory: Size = Field(
        default=1024 * 1024 * 1024,
        ge=256_000_000,
        description="Memory of the process that reads; about 100 MB is its own.",
    )
    size: Size = Field(default=64 * 1024 * 1024, description="Of the file itself.")
    chunks: Whole = Field(default=50_000, ge=1, description="Into so many it is cut at most.")


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


class SourceBase(Component):
    """What every source of documents has."""

    kind: str = Field(description="Where the documents come from.")
    labels: tuple[Label, ...] = Field(
        default=(),
        description="Only apps with one of these labels see its documents, whatever a document's own labels are; "
        "without any, every app.",
    )
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


class FolderConfig(SourceBase):
    """Documents in a folder."""

    kind: Literal["folder"] = Field(description="Documents in a folder.")
    path: Annotated[Path, BeforeValidator(_existing_folder), PlainSerializer(str)] = Field(
        description="The folder, relative to this file.", examples=["./documents"]
    )
    glob: tuple[str, ...] = Field(
        default=("**/*",), min_length=1, description="Which files, by patterns relative to the folder."
    )
    watch: Flag = Field(default=True, description="Whether changes are seen while it is served.")


class WebConfig(SourceBase):
    """Web pages by their addresses."""

    kind: Literal["web"] = Field(description="Web pages by their addresses.")
    urls: tuple[PageUrl, ...] = Field(min_length=1, description="The pages. No link and no redirect is followed.")
    every: Duration = Field(default=86_400.0, description="When they are fetched again.")


class DocumentsConfig(SourceBase):
    """Documents that are handed in, over HTTP or by `gatehouse ingest`."""

    kind: Literal["documents"] = Field(description="Documents handed in over HTTP or by `gatehouse ingest`.")


def _data_file(value: object, info: ValidationInfo) -> Path:
    path = folder_of(value, info)
    if not path.is_file():
        raise wrong("there is no file {value}", "relative paths start at this file's folder")
    return path


def _database(value: object) -> object:
    if isinstance(value, str) and re.match(r"(?:sqlite:///|postgres(?:ql)?://|mysql://).", value) is None:
        raise wrong(
            "this is no address of a database",
            "write sqlite:///path, postgresql://user@host/name or mysql://user@host/name",
        )
    return value


class SqlConfig(Component):
    """Rows of a database, or of CSV and Parquet files, found by SQL that a model writes and nothing but reads."""

    needs = (("database",), ("files",))

    kind: Literal["sql"] = Field(description="Rows of a database or of files.")
    database: Annotated[Secret | None, BeforeValidator(_database)] = Field(
        default=None,
        description="sqlite:///path (relative to this file), postgresql://... or mysql://... (MariaDB too) of a role "
        "that may only read.",
        examples=["${ORDERS_DATABASE}"],
    )
    files: dict[Name, Annotated[Path, BeforeValidator(_data_file), PlainSerializer(str)]] = Field(
        default={}, description="CSV and Parquet files by the names of their tables.", examples=["{orders: orders.csv}"]
    )
    model: Annotated[str, Ref("models", "model")] = Field(description="The model that writes the SQL.")
    tables: dict[str, tuple[str, ...]] = Field(
        default={},
        description="The tables that may be read, with their columns; no columns means all, no tables means all.",
        examples=["{orders: [], customers: [id, region]}"],
    )
    hint: str = Field(default="", description="What the model should know of the tables.")
    max_rows: Whole = Field(default=50, ge=1, le=1000, description="Rows at most.")
    max_cost: Number = Field(default=1_000_000.0, gt=0, description="The planner's estimate at most, on servers.")
    timeout: Duration = Field(default=5.0, description="How long a query may take.")
    keep: Pause = Field(default=0.0, description="How long rows are remembered; 0s asks the database each time.")
    labels: tuple[Label, ...] = Field(default=(), description="Only apps with one of these labels may ask it.")

    @model_validator(mode="after")
    def _one_of_both(self) -> SqlConfig:
        if (self.database is None) == (not self.files):
            raise wrong("there must be either a database or files", "give one of the two")
        return self


DocumentSource: TypeAlias = FolderConfig | WebConfig | DocumentsConfig
SourceConfig: TypeAlias = FolderConfig | WebConfig | DocumentsConfig | SqlConfig
