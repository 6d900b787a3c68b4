"""What every section of the file has in common: it cannot be changed, and knows all of its keys.

A section is one file with one model; each key has its default, its bounds and a sentence for the sysadmin.
"""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """The root of the models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def sections_of(annotation: Any) -> tuple[type[Section], ...]:
    """The sections that a field may hold, also within a list or an ``Annotated``; several where a ``kind`` tells."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(section for each in get_args(annotation) for section in sections_of(each))


def kind_of(section: type[Section]) -> str | None:
    """The word that its key ``kind`` must have, where it is one of several."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation)[0] if field else None


def section_at(model: type[Section], path: tuple[str | int, ...], data: Any) -> type[Section]:
    """The section that lies at ``path`` under ``model``; the last one on the way where there is none.

    ``data`` is what was to become a ``model``: its ``kind`` tells between sections.
    """
    return sections_at(model, path, data)[0]


def sections_at(model: type[Section], path: tuple[str | int, ...], data: Any) -> tuple[type[Section], ...]:
    """The same, with all that it may be where no ``kind`` tells."""
    sections: tuple[type[Section], ...] = (model,)
    for part in path:
        data = _part(data, part)
        if isinstance(part, str) and part in sections[0].model_fields:
            sections = sections_of(sections[0].model_fields[part].annotation) or sections
        if len(sections) > 1 and isinstance(data, dict):
            sections = tuple(each for each in sections if kind_of(each) == data.get("kind")) or sections
    return sections


def _part(data: Any, part: str | int) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None
