"""Who is let in, on real connections: by address, title and user, and how often; and what they may then do."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter

import argon2
import pytest
import yaml

from scpd.config import load
from scpd.daemon.build import Parts
from scpd.daemon.fleet import Fleet
from scpd.identity.claim import Form
from scpd.server.guard import GuardedVisit
from scpd.server.visit import Visit
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from scpd.wire.user_info import RoleSelection, UserIdentityAC, UserIdentityRQ, UserInformation

PATIENCE = 20.0
IMPLICIT = "1.2.840.10008.1.2"
ECHO = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
CONTEXTS = {1: ECHO, 3: CT, 5: FIND, 7: GET}
HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSCODE = b"s3cret-of-alice"

# PS3.8 table 9-21: who says no, and why.
NOT_WELCOME = AssociateRJ(1, 1, 1)
CALLING = AssociateRJ(1, 1, 3)
CALLED = AssociateRJ(1, 1, 7)
NOT_VERIFIED = AssociateRJ(1, 2, 1)
CONGESTION = AssociateRJ(2, 3, 1)
LOCAL_LIMIT = AssociateRJ(2, 3, 2)


@pytest.fixture
def parts(told, tmp_path):
    """What the daemon builds of a configuration, its servers listening."""
    started: list[tuple[Parts, Fleet]] = []

    def start(**settings) -> Fleet:
        roles = {"scu_role": True, "scp_role": True}
        defaults = {
            "bind": "127.0.0.1:0",
            "contexts": ["verification", {"sop_classes": CT, **roles}, FIND, GET],
            "storage": {"directory": str(tmp_path / "store"), "reserve": 0},
        }
        path = tmp_path / "scpd.yaml"
        path.write_text(yaml.safe_dump({**defaults, **settings}))
        made = Parts(load(path, {}))
        fleet = Fleet()
        fleet.man(made.posts)
        started.append((made, fleet))
        return fleet

    yield start
    for made, fleet in started:
        fleet.stop_accepting()
        fleet.abort("the test is over")
        made.close()


@pytest.fixture
def server(parts):
    return lambda **settings: parts(**settings).servers[0]


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"alice:{HASHER.hash(PASSCODE)}:doctor\nbob:{HASHER.hash(PASSCODE)}\n")
    path.chmod(0o640)
    return path


@pytest.fixture
def connect_from(connect, monkeypatch):
    """Connect from another address of the loopback network."""
    plain = socket.create_connection

    def make(server, source: str):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "create_connection", lambda address, timeout: plain(address, timeout, (source, 0)))
            return connect(server.address[1])

    return make


@pytest.fixture
def ask(connect, told):
    """Ask a server for an association; the answer, once the log has its line.

    Titles are the 16 bytes, or what is filled up with spaces.
    """
    lines: Counter[str] = Counter()

    def associate(
        server, *, calling: bytes = b"CT1", called: bytes = b"SCPD", client=None, roles=(), identity=(), **host
    ):
        request = AssociateRQ(
            called_field=called.ljust(16),
            calling_field=calling.ljust(16),
            user_information=UserInformation(
                maximum_length=16384, implementation_class_uid="1.2.3", roles=roles, identities=identity
            ),
            presentation_contexts=tuple(PresentationContextRQ(n, uid, (IMPLICIT,)) for n, uid in CONTEXTS.items()),
        )
        client = client or connect(server.address[1], **host)
        client.send(request.encode())
        answer = client.receive()
        if isinstance(answer, AssociateAC):
            client.release()
        else:
            client.close()
        event = "association" if isinstance(answer, AssociateAC) else "association rejected"
        lines[event] += 1
        told.wait(event, lines[event])
        return answer

    return associate


def claims(name: str = "alice", passcode: bytes = PASSCODE, *, asked: bool = True, form: int = Form.PASSCODE):
    return (UserIdentityRQ(form, asked, name.encode(), passcode),)


def passwords(users, **section) -> dict:
    return {"providers": [{"kind": "passwords", "file": str(users)}], **section}


def results(answer) -> dict[int, int]:
    assert isinstance(answer, AssociateAC), answer
    return {one.context_id: int(one.result) for one in answer.presentation_contexts}


def wait_until(condition) -> None:
    """Until something holds that nobody tells of."""
    nothing, deadline = select.poll(), time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        nothing.poll(5)


# -- without doors


def test_a_server_without_doors_makes_no_visit_for_each_connection(server, ask, told):
    one = server()
    visits = {one.terms.visit(str(number)) for number in range(3)}
    assert len(visits) == 1
    assert type(visits.pop()) is Visit
    assert one.terms.turns_away is None
    assert results(ask(one)) == dict.fromkeys(CONTEXTS, 0)
    (line,) = told.wait("association")
    assert not {"access", "identity", "user", "warnings"} & line.keys()


@pytest.mark.parametrize("door", [{"limits": {"rate_per_address": "5/s"}}, {"access": [{"deny": {"calling": "X"}}]}])
def test_any_door_makes_one_for_each(server, door):
    one = server(**door)
    first, second = one.terms.visit("a"), one.terms.visit("b")
    assert type(first) is type(second) is GuardedVisit
    assert first is not second
    assert (one.terms.turns_away is not None) == ("access" in door)


# -- by address


def test_an_address_that_is_kept_out_is_closed_before_it_says_a_word_and_told_once(server, connect_from, ask, told):
    one = server(access=[{"allow": {"address": "127.0.0.9"}}, {"deny": "all"}])
    for number in range(1, 6):
        assert connect_from(one, "127.0.0.1").is_closed_by_peer(PATIENCE)
        wait_until(lambda number=number: one.statistics.turned_away == number)
    assert connect_from(one, "127.0.0.2").is_closed_by_peer(PATIENCE)
    first, second = told.wait("connection turned away", 2)
    assert (first["peer"], first["key"], first["turned_away"]) == ("127.0.0.1", "access[1]", 1)
    assert (second["peer"], second["turned_away"]) == ("127.0.0.2", 6)
    assert first["where"].rpartition(":")[2].isdigit()
    assert first["log_level"] == "warning"
    assert isinstance(ask(one, client=connect_from(one, "127.0.0.9")), AssociateAC)
    told.wait("association")
    assert [line["event"] for line in told].count("connection turned away") == 2
    assert one.state()["turned_away"] == 6


def test_an_address_that_anything_may_still_let_in_may_speak(server, ask, told):
    one = server(access=[{"deny": {"address": "127.0.0.0/8", "calling": "CT1"}}])
    assert ask(one, calling=b"CT1") == CALLING
    assert isinstance(ask(one, calling=b"CT2"), AssociateAC)
    assert one.statistics.turned_away == 0


def test_an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_peer(server, ask, told, users):
    one = server(
        bind="[::ffff:127.0.0.1]:0",
        access=[{"allow": {"address": "127.0.0.0/8"}}, {"deny": "all"}],
        user_identity=passwords(users),
    )
    assert isinstance(ask(one, identity=claims()), AssociateAC)  # which is of this machine, so no TLS is asked for
    (line,) = told.wait("association")
    assert (line["access"], line["user"]) == ("access[0]", "alice")


def test_an_ipv6_peer_is_an_ipv6_peer(server, ask):
    one = server(bind="[::1]:0", access=[{"allow": {"address": "::1"}}, {"deny": "all"}])
    assert isinstance(ask(one, host="::1"), AssociateAC)


# -- by title


@pytest.mark.parametrize(
    ("rule", "answer", "why"),
    [
        ({"calling": "MR*"}, CALLING, "calling AE title 'CT1' is not let in"),
        ({"called": "ARCHIVE"}, CALLED, "called AE title 'SCPD' is not let in"),
        ({"calling": "MR*", "called": "ARCHIVE"}, CALLING, "calling AE title 'CT1' is not let in"),
        ({"certificate": "CN=*"}, NOT_WELCOME, "its certificate does not let it in"),
        ({"certificate": "CN=*", "calling": "MR*"}, NOT_WELCOME, "its certificate does not let it in"),
    ],
)
def test_a_title_is_refused_by_its_own_reason(server, ask, told, rule, answer, why):
    one = server(access=[{"allow": rule}, {"deny": "all"}])
    assert ask(one) == answer
    (line,) = told.wait("association rejected")
    assert (line["why"], line["key"]) == (why, "access[1]")
    assert line["where"].rpartition(":")[2].isdigit()
    assert line["log_level"] == "warning"


def test_the_rule_that_let_somebody_in_is_told(server, ask, told):
    one = server(access=[{"deny": {"calling": "MR1"}}, {"allow": {"calling": "CT*"}}, {"deny": "all"}])
    ask(one)
    (line,) = told.wait("association")
    assert (line["access"], line["log_level"]) == ("access[1]", "info")


PADDED, BLANK = b"CT1".ljust(16, b"\0"), b"\0" * 16


@pytest.mark.parametrize(
    ("titles", "answer", "why"),
    [
        ({"calling": PADDED}, CALLING, "calling AE title 'CT1', which is padded with NUL, is not let in"),
        ({"calling": BLANK}, CALLING, "calling AE title '', which is blank, is not let in"),
        (
            {"called": b"SCPD".ljust(16, b"\0")},
            CALLED,
            "called AE title 'SCPD', which is padded with NUL, is not let in",
        ),
        ({"called": b" " * 16}, CALLED, "called AE title '', which is blank, is not let in"),
    ],
)
def test_an_irregular_title_is_refused_with_what_is_irregular(server, ask, told, titles, answer, why):
    one = server(access=[{"allow": {"calling": "CT1", "called": "SCPD"}}, {"deny": "all"}])
    assert ask(one, **titles) == answer
    assert told.wait("association rejected")[0]["why"] == why


@pytest.mark.parametrize(
    ("titles", "warnings"),
    [
        ({"calling": PADDED}, ["the calling AE title is padded with NUL (titles: lenient)"]),
        ({"called": BLANK}, ["the called AE title is blank (titles: lenient)"]),
        (
            {"calling": BLANK, "called": b"SCPD".ljust(16, b"\0")},
            [
                "the calling AE title is blank (titles: lenient)",
                "the called AE title is padded with NUL (titles: lenient)",
            ],
        ),
    ],
)
def test_where_titles_are_lenient_it_is_let_in_with_a_warning(server, ask, told, titles, warnings):
    """Also where the called AE title is checked."""
    one = server(
        called_ae_title="check",
        access=[{"allow": {"calling": "CT1", "called": "SCPD", "titles": "lenient"}}, {"deny": "all"}],
    )
    assert isinstance(ask(one, **titles), AssociateAC)
    (line,) = told.wait("association")
    assert (line["warnings"], line["log_level"]) == (warnings, "warning")


def test_a_regular_title_gets_no_warning_there(server, ask, told):
    one = server(access=[{"allow": {"calling": "CT1", "titles": "lenient"}}, {"deny": "all"}])
    ask(one)
    (line,) = told.wait("association")
    assert "warnings" not in line
    assert line["log_level"] == "info"


def test_lenient_titles_do_not_replace_the_check_of_another_called_title(server, ask):
    one = server(called_ae_title="check", access=[{"allow": {"titles": "lenient"}}])
    assert ask(one, called=b"OTHER") == CALLED


@pytest.mark.parametrize(
    ("rules", "identity", "answer"),
    [
        ([{"allow": {"users": "alice", "titles": "lenient"}}, {"allow": {"calling": "CT1"}}], (), CALLED),
        ([{"allow": {"users": "bob"}}, {"allow": {"users": "alice", "titles": "lenient"}}], claims(), None),
    ],
)
def test_it_is_the_deciding_rule_that_says_whether_a_blank_called_title_counts(
    server, ask, users, rules, identity, answer
):
    one = server(called_ae_title="check", access=rules, user_identity=passwords(users))
    found = ask(one, called=BLANK, identity=identity)
    assert (found if isinstance(found, AssociateRJ) else None) == answer


# -- by user


def test_a_verified_user_is_told_and_answered_when_it_asked(server, ask, told, users):
    one = server(user_identity=passwords(users))
    assert ask(one, identity=claims()).user_information.identity_response == UserIdentityAC(b"")
    assert ask(one, identity=claims(asked=False)).user_information.identity_response is None
    assert ask(one).user_information.identity_response is None
    lines = told.wait("association", 3)
    assert [line.get("user") for line in lines] == ["alice", "alice", None]
    assert lines[0]["identity"] == "username and passcode"


@pytest.mark.parametrize(
    ("identity", "key", "claimed"),
    [
        (claims(passcode=b"wrong"), "user_identity.providers[0]", "'alice'"),
        (claims("eve\n"), "user_identity.providers[0]", r"'eve\n'"),
        (claims() + claims(), "user_identity", None),
    ],
)
def test_who_is_not_verified_is_rejected_also_where_nobody_has_to_be(server, ask, told, users, identity, key, claimed):
    one = server(user_identity=passwords(users))
    assert ask(one, identity=identity) == NOT_VERIFIED
    (line,) = told.wait("association rejected")
    assert (line["key"], line.get("claimed_user")) == (key, claimed)
    assert "user" not in line
    assert PASSCODE.decode() not in repr(list(told))


def test_who_must_be_verified_and_says_nothing_is_rejected(server, ask, told, users):
    one = server(user_identity=passwords(users, policy="require"))
    assert ask(one) == NOT_VERIFIED
    assert told.wait("association rejected")[0]["key"] == "user_identity.policy"


def test_a_form_that_nobody_verifies_counts_as_nothing_and_gets_no_answer(server, ask, told, users):
    one = server(user_identity=passwords(users))
    assert ask(one, identity=claims(form=Form.JWT)).user_information.identity_response is None
    (line,) = told.wait("association")
    assert line["identity"] == "JSON Web Token"
    assert "user" not in line


@pytest.mark.parametrize(
    ("rules", "who", "answer"),
    [
        ([{"allow": {"users": "alice"}}, {"deny": "all"}], "alice", None),
        ([{"allow": {"users": "alice"}}, {"deny": "all"}], "bob", "user 'bob' is not let in"),
        ([{"allow": {"users": "alice"}}, {"deny": "all"}], None, "without a verified user it is not let in"),
        ([{"allow": {"roles": "doctor"}}, {"deny": "all"}], "alice", None),
        ([{"allow": {"roles": "doctor"}}, {"deny": "all"}], "bob", "user 'bob' is not let in"),
        ([{"deny": {"users": "b*"}}], "bob", "user 'bob' is not let in"),
        ([{"deny": {"users": "b*"}}], None, None),
    ],
)
def test_rules_about_users_decide_once_they_are_verified(server, ask, told, users, rules, who, answer):
    one = server(access=rules, user_identity=passwords(users))
    found = ask(one, identity=claims(who) if who else ())
    if answer is None:
        assert isinstance(found, AssociateAC)
    else:
        assert found == NOT_VERIFIED
        (line,) = told.wait("association rejected")
        assert line["why"] == answer
        assert line["key"] == f"access[{len(rules) - 1}]"
        assert line.get("user") == who


def test_a_positive_response_is_never_sent_with_a_rejection(server, ask, users):
    """Verified, and yet not let in: the answer is an A-ASSOCIATE-RJ, which has no room for one."""
    one = server(access=[{"deny": {"users": "alice"}}], user_identity=passwords(users))
    assert ask(one, identity=claims()) == NOT_VERIFIED


def test_nobody_is_verified_whose_titles_are_refused_anyway(server, ask, told, users):
    one = server(access=[{"allow": {"calling": "CT1"}}, {"deny": "all"}], user_identity=passwords(users))
    assert ask(one, calling=b"MR1", identity=claims()) == CALLING
    assert "identity" not in told.wait("association rejected")[0]


def test_rules_about_users_where_nobody_verifies_never_match(server, ask):
    one = server(access=[{"allow": {"users": "*"}}, {"deny": "all"}])
    assert ask(one, identity=claims()) == NOT_VERIFIED


def test_who_guesses_is_locked_out_from_its_address_and_nobody_else_is(server, ask, connect_from, told, users):
    one = server(user_identity=passwords(users, lockout={"failures": 2, "time": "1h"}))
    for _ in range(2):
        assert ask(one, identity=claims(passcode=b"wrong")) == NOT_VERIFIED
    assert ask(one, identity=claims()) == NOT_VERIFIED
    lines = told.wait("association rejected", 3)
    assert [line["key"] for line in lines] == ["user_identity.providers[0]"] * 2 + ["user_identity.lockout"]
    assert isinstance(ask(one, identity=claims("bob")), AssociateAC)
    assert isinstance(ask(one, client=connect_from(one, "127.0.0.2"), identity=claims()), AssociateAC)


def test_who_is_not_verified_takes_no_associations_place_for_longer(server, ask, connect, users):
    one = server(user_identity=passwords(users, lockout={"failures": 0}), limits={"associations": 1})
    for _ in range(3):
        assert ask(one, identity=claims(passcode=b"wrong")) == NOT_VERIFIED
        wait_until(lambda: not one.state()["associations"])
    assert isinstance(ask(one, identity=claims()), AssociateAC)


def test_what_is_wrong_with_the_file_of_users_is_told_once_each_time_it_changes(server, ask, told, users):
    one = server(user_identity=passwords(users))

    def warnings() -> list[str]:
        return [line["what"] for line in told if line["event"] == "user identity"]

    for _ in range(2):
        ask(one, identity=claims())
    assert warnings() == []
    good = users.read_text()
    users.write_text("broken\n")
    for _ in range(3):
        assert isinstance(ask(one, identity=claims()), AssociateAC)
    assert len(warnings()) == 1
    assert "stays in force" in warnings()[0]
    users.write_text(good)
    ask(one, identity=claims())
    users.unlink()
    ask(one, identity=claims())
    assert len(warnings()) == 2
    assert told.wait("user identity", 2)[1]["key"] == "user_identity.providers[0]"


# -- what they may do


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ({}, {1: 0, 3: 0, 5: 0, 7: 0}),
        ({"services": "storage"}, {1: 1, 3: 0, 5: 1, 7: 1}),
        ({"services": ["verification", "storage"]}, {1: 0, 3: 0, 5: 1, 7: 1}),
        ({"services": "verification", "sop_classes": FIND}, {1: 0, 3: 1, 5: 0, 7: 1}),
        ({"may": "read"}, {1: 0, 3: 1, 5: 0, 7: 0}),
        ({"may": "write"}, {1: 0, 3: 0, 5: 1, 7: 1}),
        ({"sop_classes": "1.2.3"}, {1: 1, 3: 1, 5: 1, 7: 1}),
    ],
)
def test_contexts_that_are_not_for_a_peer_are_user_rejection_and_the_rest_goes_on(server, ask, told, allowed, expected):
    one = server(access=[{"allow": {"calling": "CT1", **allowed}}, {"deny": "all"}])
    assert results(ask(one)) == expected
    (line,) = told.wait("association")
    assert len(line["rejected_contexts"]) == sum(expected.values())
    assert all("may not" in each or "is not allowed" in each for each in line["rejected_contexts"])


@pytest.mark.parametrize(("may", "result"), [("read", 0), ("write", 1)])
def test_the_storage_contexts_of_a_c_get_are_reading(server, ask, may, result):
    one = server(access=[{"allow": {"may": may}}])
    assert results(ask(one, roles=(RoleSelection(CT, False, True),)))[3] == result


def test_what_one_peer_may_not_another_may_by_the_rule_that_lets_it_in(server, ask, users):
    rules = [
        {"allow": {"users": "alice"}},
        {"allow": {"users": "bob", "may": "read"}},
        {"allow": {"services": "verification"}},
    ]
    one = server(access=rules, user_identity=passwords(users))
    assert results(ask(one, identity=claims("alice"))) == {1: 0, 3: 0, 5: 0, 7: 0}
    assert results(ask(one, identity=claims("bob"))) == {1: 0, 3: 1, 5: 0, 7: 0}
    assert results(ask(one)) == {1: 0, 3: 1, 5: 1, 7: 1}
    assert results(ask(one, identity=claims("alice"))) == {1: 0, 3: 0, 5: 0, 7: 0}


# -- how often


def test_an_address_that_comes_too_often_is_told_to_come_back(server, ask, connect_from, told):
    one = server(limits={"rate_per_address": "2/h"})
    for _ in range(2):
        assert isinstance(ask(one), AssociateAC)
    assert ask(one, calling=b"MR1") == LOCAL_LIMIT
    (line,) = told.wait("association rejected")
    assert (line["key"], line["why"]) == ("limits.rate_per_address", "its address asks too often")
    assert isinstance(ask(one, client=connect_from(one, "127.0.0.2")), AssociateAC)


def test_a_title_that_comes_too_often_is_told_to_come_back(server, ask, connect_from, told):
    one = server(limits={"rate_per_title": "2/h"})
    for _ in range(2):
        assert isinstance(ask(one), AssociateAC)
    assert ask(one, client=connect_from(one, "127.0.0.2")) == CONGESTION
    assert ask(one, calling=PADDED) == CONGESTION
    line = told.wait("association rejected")[0]
    assert (line["key"], line["why"]) == ("limits.rate_per_title", "calling AE title 'CT1' asks too often")
    assert isinstance(ask(one, calling=b"MR1"), AssociateAC)


def test_a_stranger_that_a_rule_keeps_out_uses_up_nothing_of_a_title(server, ask, connect_from):
    one = server(
        limits={"rate_per_title": "1/h", "rate_per_address": "1/h"},
        access=[{"allow": {"address": "127.0.0.1", "calling": "CT1"}}, {"deny": "all"}],
    )
    for _ in range(3):
        assert connect_from(one, "127.0.0.2").is_closed_by_peer(PATIENCE)
        assert ask(one, calling=b"MR1") == CALLING
    assert isinstance(ask(one), AssociateAC)


def test_a_stranger_without_the_right_user_uses_up_nothing_of_a_title(server, ask, users):
    one = server(
        limits={"rate_per_title": "1/h"},
        access=[{"allow": {"calling": "CT1", "users": "alice"}}, {"deny": "all"}],
        user_identity=passwords(users),
    )
    assert ask(one) == NOT_VERIFIED
    assert isinstance(ask(one, identity=claims()), AssociateAC)


def test_each_title_has_a_rate_of_its_own(server, ask):
    one = server(limits={"rate_per_title": "1/h"})
    for number in range(30):
        assert isinstance(ask(one, calling=b"CT%d" % number), AssociateAC)
