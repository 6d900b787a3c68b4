"""The section ``storage``: where received instances go, and what Success promises."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from scpd.config.kinds import FOLDER, Kind, size
from scpd.config.section import Section
from scpd.config.values import GiB, parse_text, with_advice
from scpd.storage.paths import PathTemplate


def parse_template(value: object) -> str:
    """A path template as it stands, once the storage room has understood it."""
    return with_advice(_understood, parse_text(value), "write a path with keywords in braces")


def _understood(text: str) -> str:
    PathTemplate(text)
    return text


def _as_it_is(value: Any) -> Any:
    return value


_TEMPLATE = Kind(parse_template, _as_it_is, {"type": "string", "minLength": 1})


class StorageConfig(Section):
    """Per server; two servers may share a directory."""

    directory: Annotated[Path, FOLDER] = Field(
        default=Path("scpd-data"),
        description="The directory that instances are stored under (default ./scpd-data, in the "
        "directory scpd is started in); it is made where it is missing.",
    )
    path: Annotated[str, _TEMPLATE] = Field(
        default="{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
        description="The path of an instance under the directory, with keywords of its data set in braces "
        "(default {StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm).",
    )
    duplicates: Literal["replace", "keep", "reject"] = Field(
        default="replace",
        description="What becomes of an instance that is held already (default replace): replace takes "
        "the new one, keep answers Success and leaves the old one, reject answers with a failure.",
    )
    durability: Literal["fsync", "none"] = Field(
        default="fsync",
        description="What Success promises (default fsync): fsync that the instance is on the disk and "
        "outlives a power cut, none only that the operating system has it, which is faster.",
    )
    reserve: Annotated[int, size(0, 1024 * 1024 * GiB)] = Field(
        default=5 * GiB,
        description="The free space that is left alone, in bytes or with KiB, MiB, GiB (default 5GiB; 0 "
        "fills the disk): with less than that, a C-STORE is answered A700 Out of Resources.",
    )
    verify: Literal["lenient", "strict"] = Field(
        default="lenient",
        description="What becomes of a data set whose SOP Class or Instance UID is not that of its command (default "
        "lenient): lenient stores it and answers the warning B007, strict refuses it with A900, and refuses with "
        "C000 a data set that ends inside an element.",
    )
