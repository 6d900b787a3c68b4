"""The section ``access``: who may associate with a server, and what it may then do."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scpd.config.contexts import SOP_CLASS
from scpd.config.kinds import CERTIFICATE_GLOB, NETWORK, TEXT, TITLE_GLOB
from scpd.config.lists import OneOrMore
from scpd.config.section import Section

_ALL = "all"
Networks = Annotated[tuple[Annotated[str, NETWORK], ...], OneOrMore()]
Titles = Annotated[tuple[Annotated[str, TITLE_GLOB], ...], OneOrMore()]
CertificateNames = Annotated[tuple[Annotated[str, CERTIFICATE_GLOB], ...], OneOrMore()]
Names = Annotated[tuple[Annotated[str, TEXT], ...], OneOrMore()]
# The words of sop_class.GROUPS.
Services = Annotated[
    tuple[Literal["verification", "storage", "query_retrieve", "storage_commitment"], ...], OneOrMore()
]
SOPClasses = Annotated[tuple[Annotated[str, SOP_CLASS], ...], OneOrMore()]
Rights = Annotated[tuple[Literal["read", "write"], ...], OneOrMore()]


class HasValue:
    """Under a key that may be left out: where it is written it has a value, since ``calling:`` alone is a slip."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._stated, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        return {**found, "anyOf": [one for one in found["anyOf"] if one != {"type": "null"}]}

    @staticmethod
    def _stated(value: Any) -> Any:
        if value is None:
            raise ValueError("has no value")
        return value


class AllAlone:
    """Under a rule: the word ``all`` stands for the mapping without conditions."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            # A mapping that says nothing but what holds anyway, since an empty one is more likely a slip.
            lambda value: {"titles": "strict"} if value == _ALL else value,
            handler(source),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"const": _ALL}, handler(schema)]}


class Short(Section):
    """A section of which only what is said is shown: a condition that is not there is no empty list."""

    @model_serializer(mode="wrap", when_used="json")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        said = {key: value for key, value in handler(self).items() if value is not None}
        if said.get("titles") == "strict":
            del said["titles"]
        return said or _ALL

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The keys of the section, whatever it is shown as."""
        return handler(_without_serializers(schema))


def _without_serializers(schema: Any) -> Any:
    inner = {"schema": _without_serializers(schema["schema"])} if "schema" in schema else {}
    return {**{key: value for key, value in schema.items() if key != "serialization"}, **inner}


class DenyRule(Short):
    """Whom a rule is about: all that is written has to hold, one of each list."""

    address: Annotated[Networks | None, HasValue()] = Field(
        default=None, description="The peer's IP address, or networks that it lies in, as 10.20.0.0/16."
    )
    calling: Annotated[Titles | None, HasValue()] = Field(
        default=None, description="The calling AE title; * is any text, ? any character."
    )
    called: Annotated[Titles | None, HasValue()] = Field(
        default=None, description="The called AE title; * is any text, ? any character."
    )
    certificate: Annotated[CertificateNames | None, HasValue()] = Field(
        default=None,
        description="A name in the peer's certificate, with its kind: CN=ct*.hospital.example, O=…, DNS:…, IP:…, "
        "URI:…, email:…; needs tls.client optional or required.",
    )
    server: Annotated[Names | None, HasValue()] = Field(
        default=None, description="The name of the server, where the rules stand at the top for several."
    )
    users: Annotated[Names | None, HasValue()] = Field(
        default=None, description="The verified user's name (user_identity); * is any text."
    )
    roles: Annotated[Names | None, HasValue()] = Field(
        default=None, description="A role of the verified user; * is any text."
    )
    titles: Literal["strict", "lenient"] = Field(
        default="strict",
        description="How AE titles are compared (default strict): lenient also takes a title that is filled up with "
        "NUL or blank, as some devices send it, and notes that in the log.",
    )

    @model_validator(mode="after")
    def _about_somebody(self) -> "DenyRule":
        if not self.model_fields_set:
            raise ValueError("the rule has no condition; write all for everybody")
        return self


class AllowRule(DenyRule):
    """Whom a rule is about, and what they may do; without any of the latter, everything."""

    services: Annotated[Services | None, HasValue()] = Field(
        default=None,
        description="The services it may use (default all): verification, storage, query_retrieve, storage_commitment.",
    )
    sop_classes: Annotated[SOPClasses | None, HasValue()] = Field(
        default=None,
        description="The SOP classes it may use, beside those of services (default all): groups, keywords and UIDs.",
    )
    may: Annotated[Rights | None, HasValue()] = Field(
        default=None,
        description="What it may do there (default [read, write]): read is to ask for what is held, write to bring and "
        "change something.",
    )


class AccessEntry(Short):
    """One rule: allow or deny."""

    allow: Annotated[Annotated[AllowRule, AllAlone()] | None, HasValue()] = Field(
        default=None, description="Lets in whom it is about: all, or a mapping of conditions."
    )
    deny: Annotated[Annotated[DenyRule, AllAlone()] | None, HasValue()] = Field(
        default=None, description="Turns away whom it is about: all, or a mapping of conditions."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> "AccessEntry":
        if (self.allow is None) == (self.deny is None):
            raise ValueError("a rule allows or denies; write one of them, as in - deny: all")
        return self
