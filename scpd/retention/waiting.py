"""Whether anybody waits for a study: a hook that has not succeeded, or a peer that asked for commitment.

Jobs of hooks name their study; one whose data set had none that can be named is told by the paths of its files.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scpd.forward.database import Database
    from scpd.retention.candidates import File
    from scpd.retention.rules import Study

COMMITMENT, HOOK = "a peer waits to hear that it is committed", "a hook has not succeeded yet"
# Jobs of hooks that name no study: of more than so many nobody looks whose they are.
_MOST_UNNAMED = 1000
_STUDY = "json_extract(payload, '$.study_instance_uid')"
# What makes the questions below cheap, however much waits.
_SCHEMA = (
    f"CREATE INDEX IF NOT EXISTS jobs_by_study ON jobs ({_STUDY})",
    "CREATE INDEX IF NOT EXISTS arrivals_by_study_alone ON arrivals (study)",
)
_NAMED_JOBS = f"SELECT 1 FROM jobs WHERE {_STUDY} = ? LIMIT 1"  # noqa: S608 a constant
_NAMED_ARRIVALS = "SELECT 1 FROM arrivals WHERE study = ? LIMIT 1"
_UNNAMED_JOBS = f"SELECT payload FROM jobs WHERE {_STUDY} = '' LIMIT ?"  # noqa: S608 a constant
_UNNAMED_ARRIVALS = "SELECT path FROM arrivals WHERE study = '' LIMIT ?"


class Reading(Protocol):
    """A queue's database, to read. Raises :class:`~scpd.forward.queue.QueueError`."""

    def read(self, statement: str, parameters: Sequence[object] = (), /) -> list[tuple[Any, ...]]: ...


class Indexed:
    """An open queue's database, made ready for the questions of :class:`Waiting` with the first of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_ready = False

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if not self._is_ready:
            self._database.write(_make_ready)
            self._is_ready = True
        return self._database.read(statement, parameters)


def _make_ready(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)


class Waiting:
    """What waits in a queue with the tables of studies; ``pending`` finds those SOP Instances that are to be committed.

    Raises :class:`~scpd.forward.queue.QueueError`: whoever cannot know, deletes nothing.
    """

    def __init__(self, queue: Reading, pending: Callable[[Iterable[str]], frozenset[str]]) -> None:
        self._queue = queue
        self._pending = pending

    def why(self, directory: str, study: Study, files: Callable[[], Sequence[File]]) -> str:
        """Why a study has to stay, or nothing; its files lie below ``directory``, an absolute path."""
        if any(self._queue.read(one, (study.uid,)) for one in (_NAMED_JOBS, _NAMED_ARRIVALS)):
            return HOOK
        if self._is_unnamed(directory, files):
            return HOOK
        return COMMITMENT if self._pending(file.sop_instance_uid for file in files()) else ""

    def _is_unnamed(self, directory: str, files: Callable[[], Sequence[File]]) -> bool:
        """Whether one of the files is that of a job without the name of a study, or in a folder that it names."""
        most = _MOST_UNNAMED + 1
        jobs = [json.loads(payload) for (payload,) in self._queue.read(_UNNAMED_JOBS, (most,))]
        arrivals = [json.loads(path) for (path,) in self._queue.read(_UNNAMED_ARRIVALS, (most,))]
        if not jobs and not arrivals:
            return False
        if most in (len(jobs), len(arrivals)):
            return True
        meant = {place for job in jobs for place in _places(job)}.union(arrivals)
        return any(not meant.isdisjoint(_upwards(f"{directory}/{file.path}")) for file in files())


def _places(job: Mapping[str, Any]) -> Iterable[str]:
    """The files of a job, or the folders that they are in, as narrowly as it says."""
    if job.get("paths") and not job.get("paths_cut"):
        return map(str, job["paths"])
    if job.get("directories") and not job.get("directories_cut"):
        return map(str, job["directories"])
    return (str(job["path"]),)


def _upwards(path: str) -> Iterable[str]:
    return (path, *map(str, PurePath(path).parents))
