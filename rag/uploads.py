"""Documents that are handed in as a source. Nothing is fetched: who hands them in says when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from config.sources import DocumentSourceConfig

if TYPE_CHECKING:
    from contract.egress import Egress


class DocumentsConfig(DocumentSourceConfig):
    """Documents that are handed in, over HTTP or by `gatehouse ingest`."""

    takes_documents: ClassVar[bool] = True

    kind: Literal["documents"] = Field(description="Documents handed in over HTTP or by `gatehouse ingest`.")

    @property
    def where(self) -> str:
        """See `SourceConfig.where`."""
        return "handed in"

    def origin(self, egress: Egress) -> None:
        """See `DocumentSourceConfig.origin`."""
        return
