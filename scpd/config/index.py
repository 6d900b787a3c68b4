"""The section ``index``: what is held, in a database, so that it can be found, fetched and committed."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scpd.config.faults import nearest, shown
from scpd.config.kinds import MASK, YES_OR_NO, Kind
from scpd.config.lists import AnyNumber
from scpd.config.section import Section
from scpd.config.values import parse_secret, parse_text
from scpd.index.attributes import KEPT_VR, Keeping, Level, tag_of, vr_of

_LEVELS = {"patient": Level.PATIENT, "study": Level.STUDY, "series": Level.SERIES, "instance": Level.IMAGE}
_FORMS = "write sqlite:////path/of/index.db, or postgresql://user:password@host/database"


def parse_database(value: object) -> str:
    """The URL of a database, of a kind that is known."""
    text = parse_secret(value)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the address of the database is none ({error}); {_FORMS}") from None
    if text.startswith("sqlite:///") and len(parts.path) > 1 and not parts.query:
        return text
    if parts.scheme == "postgresql" and len(parts.path) > 1 and port != 0:
        return text
    raise ValueError(f"{shown(_without_password(text))} is no database that is known; {_FORMS}")


def _without_password(url: str) -> str:
    """As it is shown."""
    before, _, place = url.rpartition("@")
    scheme, _, user = before.partition("://")
    name, colon, _ = user.partition(":")
    shown_url = f"{scheme}://{name}{colon and f':{MASK}'}@{place}" if before else url
    address, _, query = shown_url.partition("?")
    return f"{address}?{MASK}" if query else address


def parse_attribute(value: object) -> str:
    """A keyword of an attribute whose values can be kept."""
    keyword = parse_text(value)
    try:
        vr = vr_of(tag_of(keyword))
    except LookupError:
        from pydicom.datadict import keyword_dict  # noqa: PLC0415 large, and only for a fault

        near = nearest(keyword, list(keyword_dict))
        remedy = f"did you mean {near!r}?" if near else "write a keyword of PS3.6"
        raise ValueError(f"{shown(keyword)} is no attribute; {remedy}") from None
    if vr not in KEPT_VR:
        raise ValueError(
            f"{keyword} has the VR {vr}, which is not kept; write attributes of text, numbers or sequences"
        )
    return keyword


def _as_it_is(value: object) -> object:
    return value


_URL = Kind(parse_database, _without_password, {"type": "string", "pattern": "^(sqlite|postgresql)://"})
_ATTRIBUTE = Kind(parse_attribute, _as_it_is, {"type": "string", "pattern": "^[A-Za-z0-9]+$"})
Attributes = Annotated[tuple[Annotated[str, _ATTRIBUTE], ...], AnyNumber()]


class IndexAttributesConfig(Section):
    """What is kept beside the usual attributes, by level."""

    patient: Attributes = Field(default=(), description="Attributes of patients, by keyword (default none more).")
    study: Attributes = Field(default=(), description="Attributes of studies, by keyword (default none more).")
    series: Attributes = Field(default=(), description="Attributes of series, by keyword (default none more).")
    instance: Attributes = Field(default=(), description="Attributes of instances, by keyword (default none more).")

    def keeping(self) -> Keeping:
        """The same as the index has it."""
        return Keeping({level: getattr(self, name) for name, level in _LEVELS.items()})


class WriteAlone:
    """Under the section: required or deferred alone stands for the mapping with that and nothing else."""

    def __get_pydantic_core_schema__(self, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.spread, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": ["required", "deferred"]}, handler(schema)]}

    @staticmethod
    def spread(value: object) -> object:
        return {"write": value} if isinstance(value, str) else value


class IndexConfig(Section):
    """Per server; several may share one."""

    url: Annotated[str, _URL] | None = Field(
        default=None,
        repr=False,
        description="The database (default: SQLite, in .index/index.db below storage.directory): sqlite:////path for a "
        "file of SQLite on a disk of this machine, or postgresql://user:password@host/database, which needs the extra "
        "postgresql and may be shared by several scpd; a password is best kept with file:/run/secrets/x.",
    )
    write: Literal["required", "deferred"] = Field(
        default="required",
        description="When an instance is written down (default required): required before Success, and without it the "
        "instance is refused with A700; deferred just after it, and caught up with when the database was away.",
    )
    attributes: IndexAttributesConfig = Field(
        default_factory=IndexAttributesConfig,
        description="What is kept beside the usual attributes, to be matched and told; after a change scpd index "
        "rebuild brings it to what is held already.",
    )
    fuzzy_names: Annotated[bool, YES_OR_NO] = Field(
        default=False,
        description="Whether a query may ask for person names that sound alike (default false), as it negotiates "
        "(PS3.4 C.2.2.2.1.1).",
    )

    @model_validator(mode="after")
    def _at_one_level(self) -> "IndexConfig":
        at: dict[str, str] = {}
        for level in _LEVELS:
            for keyword in getattr(self.attributes, level):
                first = at.setdefault(keyword, level)
                if first != level:
                    raise ValueError(f"{keyword} is both of {first} and of {level}; keep one of the two")
        return self
