"""A recorder that is given exchanges, as a gateway gives them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence

from contract.exchange import Exchange
from observability.recorder import Recorder, RecorderConfig


def run(
    config: RecorderConfig,
    exchanges: Sequence[Exchange],
    environ: Mapping[str, str] | None = None,
    before_close: Callable[[], object] = lambda: None,
) -> tuple[str, str]:
    """Records, and gives back the log and the metrics; `before_close` may wait for what is sent before the end."""
    output = io.BytesIO()

    async def main() -> str:
        recorder = Recorder(config, lambda: (), environ=environ or {}, output=output)
        recorder.start()
        for exchange in exchanges:
            recorder.began(exchange)
            recorder.finish(exchange)
        content_type = recorder.render("")[1]
        assert content_type.startswith("text/plain")
        await asyncio.to_thread(before_close)
        await recorder.close()
        return recorder.render("")[0].decode()

    metrics = asyncio.run(main())
    return output.getvalue().decode(), metrics


def dropped(metrics: str) -> int:
    """How many spans were, as the metrics say."""
    (line,) = (line for line in metrics.splitlines() if line.startswith("gatehouse_telemetry_dropped_total"))
    return round(float(line.split()[1]))
