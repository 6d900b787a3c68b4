"""What is told of a study is said by a file that is there, whatever becomes of those that were on their way."""

from __future__ import annotations

import pytest
from components.filled import instance, put
from sqlalchemy import select

from scpd.index.attributes import Keeping
from scpd.index.catching_up import CatchingUp
from scpd.index.files import Looker
from scpd.index.index import Index
from scpd.index.register import Register
from scpd.index.schema import studies

WHEN = 1_700_000_000.0


@pytest.fixture
def index(tmp_path):
    made = Index(f"sqlite:///{tmp_path}/index.db", Keeping())
    made.open()
    yield made
    made.close()


@pytest.mark.parametrize("lost", [("2", "3"), ("3", "2"), ("2",), ("2", "3", "4")])
def test_of_several_that_came_to_nothing_none_says_what_the_study_is(index, tmp_path, lost):
    """Killed while several associations stored for the first time: the latest of them is gone like the others."""
    folder = tmp_path / "store"
    folder.mkdir()
    register = Register(index, folder, deferred=False)
    for number in ("1", *lost):
        data = instance(int(number), StudyDescription=f"said by {number}")
        put(folder, f"{number}.dcm", data, WHEN + int(number))
        found = Looker(index.scribe, str(folder)).look(f"{number}.dcm")
        note = register.expected(register.expect(f"{number}.dcm", lambda found=found: found))
        if number in lost:
            (folder / f"{number}.dcm").unlink()
        else:
            register.settle(note, holds=True)
    register.close()
    after = Register(index, folder, deferred=False)
    CatchingUp(index.database).settle_left(after)
    after.close()
    with index.database.reading() as connection:
        (told,) = connection.execute(select(studies.c.attributes)).scalars()
    assert told["00081030"] == "said by 1"
