"""The configuration in one YAML file: `config.loading` returns a checked `Config` or raises all problems at once."""

from config.access import AppConfig
from config.display import effective, show, show_json
from config.listening import is_loopback, split_listen
from config.models import BreakerConfig, FallbackConfig, HedgeConfig, ModelConfig, RetryConfig, TargetConfig
from config.problems import ConfigError, Problem
from config.providers import NetworkConfig, ProviderBase
from config.root import Config
from config.secret import Secret, hash_key
from config.sections import (
    ContextConfig,
    ObserveConfig,
    PipelineConfig,
    ServerConfig,
)
from config.sources import SourceConfig

__all__ = [
    "AppConfig",
    "BreakerConfig",
    "Config",
    "ConfigError",
    "ContextConfig",
    "FallbackConfig",
    "HedgeConfig",
    "ModelConfig",
    "NetworkConfig",
    "ObserveConfig",
    "PipelineConfig",
    "Problem",
    "ProviderBase",
    "RetryConfig",
    "Secret",
    "ServerConfig",
    "SourceConfig",
    "TargetConfig",
    "effective",
    "hash_key",
    "is_loopback",
    "show",
    "show_json",
    "split_listen",
]
