"""One YAML file, strictly read: `config.loading` gives a checked `Config`, or an error with all that is wrong."""

from config.access import AppConfig
from config.display import effective, show, show_json
from config.listening import is_loopback, split_listen
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
    "effective",
    "hash_key",
    "is_loopback",
    "show",
    "show_json",
    "split_listen",
]
