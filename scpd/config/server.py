"""The keys of one server, which may also stand at the top of the file as every server's default."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from scpd.config.access import AccessEntry
from scpd.config.contexts import ContextConfig, ContextEntry, NameAlone, parse_not_empty, resolve
from scpd.config.hooks import HookConfig
from scpd.config.index import IndexConfig, WriteAlone
from scpd.config.kinds import AE_TITLE, BIND, TEXT
from scpd.config.limits import LimitsConfig
from scpd.config.retention import RetentionRule
from scpd.config.section import Section
from scpd.config.storage import StorageConfig
from scpd.config.timeouts import TimeoutsConfig
from scpd.config.tls import TLSConfig
from scpd.config.user_identity import UserIdentityConfig
from scpd.config.values import Endpoint

Contexts = Annotated[tuple[Annotated[ContextEntry, NameAlone()], ...], BeforeValidator(parse_not_empty)]


def _without_default(schema: dict[str, Any]) -> None:
    """The default depends on the other servers."""
    schema.pop("default", None)


class ServerConfig(Section):
    """One AE title at one address."""

    name: Annotated[str, TEXT] = Field(
        default="",
        json_schema_extra=_without_default,
        description="The server's name in logs and metrics (default: its ae_title, with a number where "
        "two servers share one); no two servers may have the same.",
    )
    ae_title: Annotated[str, AE_TITLE] = Field(
        default="SCPD",
        description="The AE title of the server (default SCPD): 1 to 16 characters of ASCII without "
        "backslash; peers call it by this name.",
    )
    bind: Annotated[Endpoint, BIND] = Field(
        default=Endpoint("127.0.0.1", 11112),
        description="The address and port to listen on (default 127.0.0.1:11112, reached from this machine "
        "only): host:port or [v6]:port, with 0.0.0.0 for every IPv4 interface and [::] for every one; or systemd:NAME "
        "for the socket that systemd hands over under this FileDescriptorName, and systemd for the one that is called "
        "as the server, or the only one there is.",
    )
    contexts: Contexts = Field(
        default=(ContextEntry(sop_classes=("verification",)), ContextEntry(sop_classes=("storage",))),
        description="What the server supports (default [verification, storage]): a list of SOP classes, each "
        "by group, keyword or UID, or as a mapping with more; a later entry replaces an earlier one "
        "of the same SOP class.",
        json_schema_extra={"default": ["verification", "storage"]},
    )
    transfer_syntax_preference: Literal["requestor", "acceptor"] = Field(
        default="requestor",
        description="Whose order decides between several transfer syntaxes (default requestor): requestor "
        "is the order of the proposal, acceptor the order in contexts.",
    )
    called_ae_title: Literal["any", "check"] = Field(
        default="any",
        description="Which called AE title is served (default any): check rejects an association that calls "
        "another title than ae_title, any serves it, since many modalities are set up carelessly.",
    )
    tls: TLSConfig | None = Field(
        default=None,
        description="What protects the connections (default null: nothing does); all of them begin with TLS then, on "
        "this port.",
    )
    access: tuple[AccessEntry, ...] = Field(
        default=(),
        description="Who may associate, and what they may do (default: everybody, everything): rules, of which the "
        "first that matches decides; whom none matches is let in, so that a list usually ends with - deny: all.",
    )
    user_identity: UserIdentityConfig = Field(
        default_factory=UserIdentityConfig, description="What becomes of who a peer says it is."
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="How much the server takes on at most.")
    timeouts: TimeoutsConfig = Field(default_factory=TimeoutsConfig, description="How long the server waits at most.")
    storage: StorageConfig = Field(
        default_factory=StorageConfig,
        description="Where received instances go, and what Success promises.",
    )
    index: Annotated[IndexConfig, WriteAlone()] | None = Field(
        default=None,
        description="What is held, in a database (default null: none is kept, and nothing can be asked for; {} is one "
        "with every default, required or deferred alone one with that).",
    )
    retention: tuple[RetentionRule, ...] = Field(
        default=(),
        description="Which studies are deleted, and when (default none, ever): rules, each of which deletes on its "
        "own; never a study that a peer waits to have committed, that a hook has yet to succeed with, or of which "
        "something came within the last hour; scpd expiring says what would go now.",
    )
    hooks: tuple[Annotated[HookConfig, Field(discriminator="kind")], ...] = Field(
        default=(), description="Who is told of what has arrived: programs and addresses (default nobody)."
    )

    def supported(self) -> tuple[ContextConfig, ...]:
        """The contexts as UIDs, groups resolved, one for each SOP class."""
        return resolve(self.contexts)
