"""The configuration: a YAML file → an immutable :class:`Config`, or every fault at once with its line.

Knows the keys, their bounds and their defaults; refuses to know what is built from them.
"""

from scpd.config.access import AccessEntry, AllowRule, DenyRule
from scpd.config.admin import AdminConfig
from scpd.config.audit import AuditConfig
from scpd.config.contexts import ContextConfig, ContextEntry
from scpd.config.difference import difference
from scpd.config.effective import effective
from scpd.config.hooks import ExecHookConfig, HookConfig, WebhookConfig
from scpd.config.index import IndexConfig
from scpd.config.limits import LimitsConfig
from scpd.config.load import load
from scpd.config.logging import LoggingConfig
from scpd.config.model import Config
from scpd.config.peers import PeerConfig
from scpd.config.queue import QueueConfig
from scpd.config.retention import RetentionRule
from scpd.config.schema import schema
from scpd.config.server import ServerConfig
from scpd.config.storage import StorageConfig
from scpd.config.timeouts import TimeoutsConfig
from scpd.config.tls import PeerTLSConfig, TLSConfig
from scpd.config.user_identity import UserIdentityConfig
from scpd.config.values import Endpoint

__all__ = [
    "AccessEntry",
    "AdminConfig",
    "AllowRule",
    "AuditConfig",
    "Config",
    "ContextConfig",
    "ContextEntry",
    "DenyRule",
    "Endpoint",
    "ExecHookConfig",
    "HookConfig",
    "IndexConfig",
    "LimitsConfig",
    "LoggingConfig",
    "PeerConfig",
    "PeerTLSConfig",
    "QueueConfig",
    "RetentionRule",
    "ServerConfig",
    "StorageConfig",
    "TLSConfig",
    "TimeoutsConfig",
    "UserIdentityConfig",
    "WebhookConfig",
    "difference",
    "effective",
    "load",
    "schema",
]
