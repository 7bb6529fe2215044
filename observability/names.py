"""All attribute names in traces: OpenTelemetry's names where they exist, else `gatehouse.*`.

GenAI conventions as of semantic conventions 1.41 and later (attributes only; its metrics are for model clients).
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"

APP = "gatehouse.app"
ROUTE = "gatehouse.route"
TARGET = "gatehouse.target"
OUTCOME = "gatehouse.outcome"
CONFIG = "gatehouse.config"
REQUEST_ID = "gatehouse.request_id"
CACHE = "gatehouse.cache"
CACHE_AGE = "gatehouse.cache.age_s"
CACHE_SIMILARITY = "gatehouse.cache.similarity"
CACHE_REASON = "gatehouse.cache.reason"
COST = "gatehouse.cost_usd"
ATTEMPTS = "gatehouse.attempts"
ATTEMPT_NUMBER = "gatehouse.attempt.number"
ATTEMPT_REASON = "gatehouse.attempt.reason"
ATTEMPT_CHOSEN = "gatehouse.attempt.chosen"
ATTEMPT_WAITED_S = "gatehouse.attempt.waited"
ATTEMPT_KEY = "gatehouse.attempt.key_number"
DROPPED_PARAMS = "gatehouse.dropped_params"
FINDINGS = "gatehouse.findings"
STEP = "gatehouse."

EMBEDDINGS = "embeddings"
CHAT = "chat"


def usual_operation(surface: str) -> str:
    """The operation of an attempt for `surface` that ended before its dialect was used."""
    return EMBEDDINGS if "mbed" in surface else CHAT
