"""What is proposed for a C-GET: room for all classes, and the encodings as they are held where there is room for that."""

from __future__ import annotations

import pytest

from scpd.client.requestor import MOST_CONTEXTS
from scpd.client.retrieving import Counts, roles, storage_proposals
from scpd.dimse.command import CGetRSP
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, MOST_USED_STORAGE

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"


def classes(count: int) -> list[str]:
    return [f"1.2.3.{number}" for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 42, 43, 63, 64, len(MOST_USED_STORAGE), 127])
def test_every_class_in_every_encoding_within_one_association(count):
    proposals = storage_proposals(classes(count))
    assert len(proposals) + 1 <= MOST_CONTEXTS
    for sop_class in classes(count):
        own = [proposal.transfer_syntaxes for proposal in proposals if proposal.abstract_syntax == sop_class]
        every = [syntax for syntaxes in own for syntax in syntaxes]
        assert sorted(every) == sorted(map(str, ALL_TRANSFER_SYNTAXES)), "each once"
        assert own[0][0] == EXPLICIT, "what everybody reads is asked for first"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_classes_have_a_context_for_each_encoding(count):
    assert all(len(one.transfer_syntaxes) == 1 for one in storage_proposals(classes(count)))


def test_more_classes_share_the_room():
    """30 classes have four contexts each, so that two compressed encodings stand alone."""
    own = [one.transfer_syntaxes for one in storage_proposals(classes(30)) if one.abstract_syntax == "1.2.3.0"]
    assert [len(syntaxes) for syntaxes in own] == [4, 1, 1, len(ALL_TRANSFER_SYNTAXES) - 6]


@pytest.mark.parametrize("count", [0, 128])
def test_what_does_not_fit_is_told(count):
    with pytest.raises(ValueError, match=f"1 to 127 storage classes, not {count}"):
        storage_proposals(classes(count))


def test_this_side_is_the_scp_of_what_it_receives():
    assert [(role.sop_class_uid, role.scu_role, role.scp_role) for role in roles([CT, MR])] == [
        (CT, False, True),
        (MR, False, True),
    ]


def test_counts_are_those_of_the_last_response_that_told_them():
    counts = Counts().after(CGetRSP(status=0xFF00, remaining=3, completed=1, failed=0, warning=1))
    assert (counts, counts.done) == (Counts(3, 1, 0, 1), 2)
    assert counts.after(CGetRSP(status=0x0000, completed=4)) == Counts(3, 4, 0, 1)
