"""Sub-operations counted, and the answers the counts make (PS3.4 C.4.2, C.4.3, table C.4-2), for every outcome."""

from __future__ import annotations

import zlib
from io import BytesIO
from itertools import product

import pytest
from pydicom.filereader import read_dataset

from scpd.dimse.command import CGetRQ, CGetRSP, CMoveRQ, CMoveRSP
from scpd.services.suboperations import MOST, Tally, failed_list

SUCCESS, WARNING, FAILURE, NONE = 0x0000, 0xB000, 0xA700, None
OUTCOMES = (SUCCESS, WARNING, FAILURE, NONE)
GET = CGetRQ(message_id=7, affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.3", has_data_set=True)
MOVE = CMoveRQ(message_id=7, affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.2", has_data_set=True)


def counts(response) -> tuple:
    return response.remaining, response.completed, response.failed, response.warning


def tally(*outcomes, total: int | None = None, request=GET) -> Tally:
    made = Tally(request, len(outcomes) if total is None else total)
    for number, outcome in enumerate(outcomes):
        made.count(outcome, f"1.2.{number}")
    return made


@pytest.mark.parametrize(("request_", "kind"), [(GET, CGetRSP), (MOVE, CMoveRSP)])
def test_every_answer_is_one_to_its_request(request_, kind):
    one = tally(SUCCESS, FAILURE, request=request_)
    for answer in (one.pending(), one.final(), one.cancelled(), one.stopped(0xA701)):
        assert type(answer) is kind
        assert answer.message_id_being_responded_to == 7
        assert answer.affected_sop_class_uid == request_.affected_sop_class_uid


@pytest.mark.parametrize("outcomes", [one for count in range(5) for one in product(OUTCOMES, repeat=count)])
def test_every_course_of_up_to_four(outcomes):
    """The numbers add up after each, and the final status is success, a warning, or a failure where none was stored."""
    one = Tally(GET, len(outcomes))
    for number, outcome in enumerate(outcomes, 1):
        one.count(outcome, f"1.2.{number}")
        pending = one.pending()
        assert pending.status == 0xFF00
        assert not pending.has_data_set
        assert pending.remaining == len(outcomes) - number
        assert sum(counts(pending)) == len(outcomes)
    completed, warning = outcomes.count(SUCCESS), outcomes.count(WARNING)
    failed = len(outcomes) - completed - warning
    final = one.final()
    assert counts(final) == (None, completed, failed, warning)
    expected = 0x0000 if not (failed or warning) else 0xB000 if completed or warning else 0xA702
    assert final.status == expected
    assert final.has_data_set == (expected != 0x0000)
    assert one.failed_uids == [f"1.2.{n}" for n, outcome in enumerate(outcomes, 1) if outcome in (FAILURE, NONE)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, "completed"),
        *((status, "warning") for status in (0xB000, 0xB006, 0xB007, 0xBFFF, 0x0001, 0x0107, 0x0116)),
        *((status, "failed") for status in (0xA700, 0xA900, 0xC000, 0xCFFF, 0x0110, 0x0117, 0x0122, 0x0124, 0x0211)),
        *((status, "failed") for status in (0xFE00, 0xFF00, 0xFF01, 0x1234, None)),
    ],
)
def test_which_count_a_c_store_status_is(status, kind):
    """What is neither success nor a warning has not stored the instance."""
    one = tally(status)
    assert {name: getattr(one, name) for name in ("completed", "warning", "failed")} == {
        name: int(name == kind) for name in ("completed", "warning", "failed")
    }
    assert one.failed_uids == (["1.2.0"] if kind == "failed" else [])


@pytest.mark.parametrize("done", range(4))
def test_a_cancelled_one_alone_tells_what_was_left(done):
    one = tally(*[SUCCESS] * done, total=3)
    answer = one.cancelled()
    assert (answer.status, answer.has_data_set) == (0xFE00, True)
    assert counts(answer) == (3 - done, done, 0, 0)


@pytest.mark.parametrize("status", [0xA701, 0xA900, 0xC411])
def test_what_was_left_counts_as_failed_where_something_else_ended_it(status):
    one = tally(SUCCESS, WARNING, FAILURE, total=10)
    answer = one.stopped(status)
    assert (answer.status, answer.has_data_set) == (status, True)
    assert counts(answer) == (None, 1, 8, 1)
    assert one.failed_uids == ["1.2.2"]
    assert one.remaining == 0


def test_a_failure_without_a_name_is_counted_and_not_listed():
    one = Tally(GET, 1)
    one.count(FAILURE, "")
    assert (one.failed, one.failed_uids) == (1, [])


def test_more_than_announced_never_leave_less_than_nothing():
    one = tally(SUCCESS, SUCCESS, SUCCESS, total=1)
    assert counts(one.pending()) == (0, 3, 0, 0)


def test_as_many_as_a_response_can_count():
    one = Tally(GET, MOST)
    assert MOST == 0xFFFF
    for _ in range(MOST):
        one.count(SUCCESS, "")
    assert counts(one.final()) == (None, MOST, 0, 0)


def test_more_than_a_response_can_count_are_told_as_65535():
    one = Tally(GET, MOST + 10)
    assert counts(one.pending())[0] == MOST
    assert counts(one.cancelled())[0] == MOST
    for number in range(MOST + 10):
        one.count(FAILURE, f"1.2.{number}")
    assert counts(one.final()) == (None, 0, MOST, 0)
    assert len(one.failed_uids) == MOST + 10


def test_a_comment_says_why_where_it_is_no_success():
    assert tally(SUCCESS).final("nothing").error_comment == ""
    assert tally(FAILURE).final("the peer said né " + "x" * 100).error_comment == "the peer said n? " + "x" * 47


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", *(f"1.2.840.10008.1.2.{more}" for more in ("1", "2", "1.99"))])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000, 3000, 70_000])
def test_the_failed_list_is_read_by_pydicom_as_it_was_meant(syntax, count):
    uids = [f"1.2.826.0.1.3680043.9.{number}" for number in range(count)]
    data = failed_list(uids, syntax)
    assert len(data) % 2 == 0
    if syntax.endswith(".99"):
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    read = read_dataset(BytesIO(data), syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2")
    (element,) = read
    assert element.tag == 0x00080058
    value = element.value
    if isinstance(value, bytes):  # too long for UI in an explicit encoding
        assert len(value) > 65534
        value = value.decode().rstrip("\0").split("\\")
    assert [uid for uid in ([value] if isinstance(value, str) else value) if uid] == uids
