"""What stands under a field of a model: a parse function, its way back to text, and its JSON Schema.

A field says ``Annotated[int, size(4 * KiB, 16 * MiB)]``; the rest of pydantic's own coercions and sentences
are not used. Knows no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import CoreSchema, core_schema

from scpd.config.faults import shown
from scpd.config.values import (
    format_duration,
    format_rate,
    format_size,
    parse_bind,
    parse_certificate_glob,
    parse_duration,
    parse_endpoint,
    parse_folder,
    parse_name,
    parse_network,
    parse_rate,
    parse_secret,
    parse_size,
    parse_text,
    parse_title,
    parse_title_glob,
    parse_whole_number,
    parse_yes_or_no,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, eq=False)
class Kind:
    """Puts a parse function, its way back and its JSON Schema under a pydantic field, by ``Annotated``."""

    parse: Callable[[object], Any]
    text: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(self.text, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(self.schema)


def whole_number(minimum: int, maximum: int) -> Kind:
    """A whole number between two bounds, both allowed."""
    return Kind(
        _between(parse_whole_number, minimum, maximum, str),
        int,
        {"type": "integer", "minimum": minimum, "maximum": maximum},
    )


def size(minimum: int, maximum: int) -> Kind:
    """A size in bytes between two bounds, both allowed."""
    alternatives = [
        {"type": "integer", "minimum": minimum, "maximum": maximum},
        {"type": "string", "pattern": "^[0-9]+ ?([KMG]iB)?$"},
    ]
    return Kind(_between(parse_size, minimum, maximum, format_size), _written_size, {"anyOf": alternatives})


def _written_size(size: int) -> str | int:
    """As in a file: bytes are a number there, without a unit."""
    text = format_size(size)
    return int(text) if text.isdigit() else text


def duration(minimum: float, maximum: float) -> Kind:
    """A time in seconds between two bounds, both allowed."""
    with_unit = {"type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$"}
    return Kind(
        _between(parse_duration, minimum, maximum, format_duration),
        format_duration,
        with_unit if minimum else {"anyOf": [with_unit, {"const": 0}]},
    )


def _between(
    parse: Callable[[object], Number], minimum: Number, maximum: Number, text: Callable[[Number], str]
) -> Callable[[object], Number]:
    def bounded(value: object) -> Number:
        number = parse(value)
        if number < minimum:
            raise ValueError(f"{shown(value)} is too little; write {text(minimum)} or more")
        if number > maximum:
            raise ValueError(f"{shown(value)} is too much; write {text(maximum)} or less")
        return number

    return bounded


def _as_it_is(value: Any) -> Any:
    return value


TEXT = Kind(parse_text, _as_it_is, {"type": "string", "minLength": 1})
NAME = Kind(parse_name, _as_it_is, {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"})
AE_TITLE = Kind(parse_title, _as_it_is, {"type": "string", "minLength": 1, "maxLength": 16})
ENDPOINT = Kind(parse_endpoint, str, {"type": "string", "pattern": r"^.+:[0-9]{1,5}$"})
BIND = Kind(parse_bind, str, {"type": "string", "pattern": r"^(.+:[0-9]{1,5}|systemd(:[A-Za-z0-9_.-]{1,64})?)$"})
FOLDER = Kind(parse_folder, str, {"type": "string", "minLength": 1})
FILE = FOLDER
# What stands in its place wherever a configuration is shown.
MASK = "********"
SECRET = Kind(parse_secret, lambda _: MASK, {"type": "string", "minLength": 1})
YES_OR_NO = Kind(parse_yes_or_no, _as_it_is, {"type": "boolean"})
NETWORK = Kind(parse_network, _as_it_is, {"type": "string", "minLength": 1})
TITLE_GLOB = Kind(parse_title_glob, _as_it_is, {"type": "string", "minLength": 1, "maxLength": 16})
CERTIFICATE_GLOB = Kind(parse_certificate_glob, _as_it_is, {"type": "string", "pattern": "^[A-Za-z]+[=:].+$"})
RATE = Kind(parse_rate, format_rate, {"anyOf": [{"type": "string", "pattern": "^[0-9]+/[0-9]*(s|m|h)$"}, {"const": 0}]})
