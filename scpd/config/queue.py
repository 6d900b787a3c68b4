"""The section ``queue``: where jobs wait that outlive the process."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from scpd.config.kinds import FOLDER
from scpd.config.section import Section


class QueueConfig(Section):
    """For the whole process."""

    directory: Annotated[Path, FOLDER] | None = Field(
        default=None,
        description="The directory of the queue (default: .queue below the storage directory of the first server that "
        "has hooks), on a disk of this machine; it is made where it is missing, and one process alone may use it.",
    )
