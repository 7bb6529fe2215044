"""The source kind `documents`: documents that clients upload. Clients also report changes; nothing is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from config.sources import DocumentSourceConfig

if TYPE_CHECKING:
    from contract.egress import Egress


class DocumentsConfig(DocumentSourceConfig):
    """Documents uploaded over HTTP or with `gatehouse ingest`."""

    takes_documents: ClassVar[bool] = True

    kind: Literal["documents"] = Field(description="Documents uploaded over HTTP or with `gatehouse ingest`.")

    @property
    def where(self) -> str:
        """See `SourceConfig.where`."""
        return "uploaded"

    def origin(self, egress: Egress) -> None:
        """See `DocumentSourceConfig.origin`."""
        return
