"""What every section of the file has in common: it cannot be changed, and knows all of its keys.

A section is one file with one model; each key has its default, its bounds and a sentence for the sysadmin.
"""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """The root of the models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a field holds, also within a list or an ``Annotated``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_of, get_args(annotation))), None)


def section_at(model: type[Section], path: tuple[str | int, ...]) -> type[Section]:
    """The section that lies at ``path`` under ``model``; the last one on the way where there is none."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            model = section_of(model.model_fields[part].annotation) or model
    return model
