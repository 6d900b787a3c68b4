"""The section ``contexts``: which SOP classes a server supports, in which transfer syntaxes and roles.

The models keep the words of the file; :func:`resolve` makes presentation contexts of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scpd.config.faults import shown
from scpd.config.kinds import Kind
from scpd.config.lists import OneOrMore
from scpd.config.section import Section
from scpd.config.uids import (
    SYNTAX_GROUPS,
    parse_sop_class,
    parse_transfer_syntax,
    sop_class_uids,
    transfer_syntax_uids,
)
from scpd.sop_class import GROUPS, SOP_CLASSES, TRANSFER_SYNTAXES

_UID_SCHEMA = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}


@dataclass(frozen=True)
class ContextConfig:
    """One abstract syntax, with its transfer syntaxes in order of preference, all as UIDs."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


class NameAlone:
    """Under a context: a name alone stands for the mapping with that SOP class and nothing else."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.spread, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [SOP_CLASS.schema, handler(schema)]}

    @staticmethod
    def spread(value: Any) -> Any:
        return {"sop_classes": value} if isinstance(value, str) else value


def parse_role(value: object) -> bool | None:
    """true, false, or null where role selection is not answered."""
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"{shown(value)} is not a role; write true, false or null")


def _as_it_is(value: Any) -> Any:
    return value


def _names_schema(title: str, *names: Iterable[str]) -> dict[str, Any]:
    every = [name for group in names for name in group]
    return {"title": title, "anyOf": [{"enum": every}, _UID_SCHEMA]}


SOP_CLASS = Kind(parse_sop_class, _as_it_is, _names_schema("SOPClass", GROUPS, SOP_CLASSES))
_TRANSFER_SYNTAX = Kind(
    parse_transfer_syntax,
    _as_it_is,
    _names_schema("TransferSyntax", SYNTAX_GROUPS, TRANSFER_SYNTAXES),
)
_ROLE = Kind(parse_role, _as_it_is, {"type": ["boolean", "null"]})

Role = Annotated[bool | None, _ROLE]


class ContextEntry(Section):
    """One entry of the list: some SOP classes, and what holds for each of them."""

    sop_classes: Annotated[tuple[Annotated[str, SOP_CLASS], ...], OneOrMore()] = Field(
        description="The SOP classes that this entry is about: one or a list of groups (verification, storage, "
        "query_retrieve, storage_commitment), keywords of PS3.6 annex A, and UIDs, private ones included."
    )
    transfer_syntaxes: Annotated[tuple[Annotated[str, _TRANSFER_SYNTAX], ...], OneOrMore()] = Field(
        default=("default",),
        description="Their transfer syntaxes in order of preference (default default): default is the "
        "uncompressed set of PS3.5, all is every one of PS3.6, else one or a list of keywords and UIDs.",
    )
    scu_role: Role = Field(
        default=None,
        description="The SCU role in role selection, PS3.7 D.3.3.4 (default null): true or false answers "
        "a proposal, null leaves it without an answer; set both roles or neither.",
    )
    scp_role: Role = Field(
        default=None,
        description="The SCP role in role selection, PS3.7 D.3.3.4 (default null): true or false answers "
        "a proposal, null leaves it without an answer; set both roles or neither.",
    )

    @model_validator(mode="after")
    def _both_roles_or_neither(self) -> "ContextEntry":
        if (self.scu_role is None) != (self.scp_role is None):
            raise ValueError("one role alone is no answer to a proposal; set scu_role and scp_role, or neither")
        return self


def parse_not_empty(value: Any) -> Any:
    """A server that supports nothing would reject every association."""
    if value in ([], ()):
        raise ValueError("the list is empty; write what is supported, as in [verification, storage]")
    return value


def resolve(entries: Iterable[ContextEntry]) -> tuple[ContextConfig, ...]:
    """What the entries say of each SOP class; a later entry replaces an earlier one of the same class."""
    found: dict[str, tuple[tuple[str, ...], ContextEntry]] = {}
    for entry in entries:
        syntaxes = transfer_syntax_uids(entry.transfer_syntaxes)
        found.update(dict.fromkeys(sop_class_uids(entry.sop_classes), (syntaxes, entry)))
    return tuple(
        ContextConfig(uid, syntaxes, entry.scu_role, entry.scp_role) for uid, (syntaxes, entry) in found.items()
    )
