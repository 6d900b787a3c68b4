"""A list of which a single entry may stand for itself: ``calling: CT1`` for ``calling: [CT1]``."""

from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class OneOrMore:
    """Under a tuple: a single name stands for a list of one, and is written back as such."""

    least: ClassVar[dict[str, int]] = {"minItems": 1}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            self.spread,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self.gather, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = {**handler(schema), **self.least}
        return {"anyOf": [several["items"], several]}

    @classmethod
    def spread(cls, value: Any) -> Any:
        if cls.least and value in ([], ()):
            raise ValueError("the list is empty; write at least one name")
        return [value] if isinstance(value, str | int) else value

    @staticmethod
    def gather(names: tuple[str, ...] | None) -> Any:
        return names[0] if names and len(names) == 1 else names and list(names)


class AnyNumber(OneOrMore):
    """The same, and none is a number as well."""

    least: ClassVar[dict[str, int]] = {}
