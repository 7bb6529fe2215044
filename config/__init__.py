"""One YAML file, strictly read: `load` gives a checked `Config`, or a `ConfigError` with everything that is wrong."""

from config.access import AppConfig
from config.display import effective, schema, show, show_json
from config.listening import is_loopback, split_listen
from config.loading import load
from config.manual import manual
from config.models import BreakerConfig, FallbackConfig, HedgeConfig, ModelConfig, RetryConfig, TargetConfig
from config.problems import ConfigError, Problem
from config.providers import (
    AnthropicConfig,
    AzureConfig,
    ExtractiveConfig,
    GeminiConfig,
    NetworkConfig,
    OpenAIConfig,
    ProviderConfig,
    SimulatedConfig,
)
from config.root import Config
from config.secret import Secret, hash_key
from config.sections import (
    ContextConfig,
    ObserveConfig,
    PipelineConfig,
    ServerConfig,
)
from config.sources import FolderConfig, SourceConfig
from gateway.commands.plan import draw_plan, plan

__all__ = [
    "AnthropicConfig",
    "AppConfig",
    "AzureConfig",
    "BreakerConfig",
    "Config",
    "ConfigError",
    "ContextConfig",
    "ExtractiveConfig",
    "FallbackConfig",
    "FolderConfig",
    "GeminiConfig",
    "HedgeConfig",
    "ModelConfig",
    "NetworkConfig",
    "ObserveConfig",
    "OpenAIConfig",
    "PipelineConfig",
    "Problem",
    "ProviderConfig",
    "RetryConfig",
    "Secret",
    "ServerConfig",
    "SimulatedConfig",
    "SourceConfig",
    "TargetConfig",
    "draw_plan",
    "effective",
    "hash_key",
    "is_loopback",
    "load",
    "manual",
    "plan",
    "schema",
    "show",
    "show_json",
    "split_listen",
]
