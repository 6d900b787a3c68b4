"""Access rules: the first that matches decides, and nobody is turned away whom some further fact could still let in.

The oracle is plain: rules as data, a matcher of a few lines, and every peer of a small universe tried out.
"""

from __future__ import annotations

import ipaddress
import itertools
import time
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scpd.identity.access import (
    DEFAULT,
    UNKNOWN,
    Access,
    Facts,
    FromNetwork,
    HasCertificate,
    HasTitle,
    IsUser,
    Permission,
    Rule,
    Title,
    networks,
    parse_address,
    pattern,
    source,
)
from scpd.identity.claim import User
from scpd.negotiation.offer import AcceptedContext
from scpd.sop_class import SOP_CLASSES

# -- a small universe, and rules about it as data

UNIVERSE: dict[str, list[Any]] = {
    "address": [parse_address(text) for text in ("10.0.0.1", "10.0.1.1", "192.168.0.1", "fd00::1")],
    "certificate": [(), ("CN=ct1",), ("CN=mr1", "DNS:ct1")],
    "calling": [Title("CT1"), Title("MR1"), Title("CT1", "padded with NUL"), Title("", "blank")],
    "called": [Title("ARCHIVE"), Title("OTHER"), Title("ARCHIVE", "padded with NUL"), Title("", "blank")],
    "user": [None, User("alice", frozenset(("doctor",))), User("bob", frozenset(("nurse", "doctor"))), User("carol")],
}
LATER = ("certificate", "calling", "called", "user")
# Each of them holds for something in the universe, and for something else it does not.
WRITTEN = {
    "address": [("10.0.0.0/24",), ("10.0.0.0/16",), ("fd00::/8", "192.168.0.1"), ("10.0.1.1",)],
    "certificate": [("CN=CT*",), ("CN=mr?", "O=nobody"), ("DNS:*",)],
    "calling": [("CT*",), ("MR1", "XA1"), ("?T?",)],
    "called": [("ARCHIVE",), ("OTH*",)],
    "users": [("alice",), ("bob", "alice"), ("car*",)],
    "roles": [("doctor",), ("n*",)],
}
FACT_OF = {"users": "user", "roles": "user"}


class Written(NamedTuple):
    """A rule as a sysadmin writes it."""

    allows: bool
    conditions: tuple[tuple[str, tuple[str, ...]], ...]
    lenient: bool = False


def fits(glob: str, text: str) -> bool:
    """Whether a glob fits, by its definition."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(fits(glob[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and fits(glob[1:], text[1:])


def holds(key: str, wanted: tuple[str, ...], facts: Facts, rule: Written) -> bool:
    """Whether a condition holds for somebody of whom everything is known."""
    if key == "address":
        return any(facts.address in ipaddress.ip_network(one) for one in wanted)
    if key == "certificate":
        return any(fits(one.lower(), name.lower()) for one in wanted for name in facts.certificate)
    if key in ("calling", "called"):
        title = getattr(facts, key)
        if title.irregular == "blank":
            return rule.lenient
        if title.irregular and rule.allows and not rule.lenient:
            return False
        return any(fits(one, title.text) for one in wanted)
    if facts.user is None:
        return False
    names = facts.user.roles if key == "roles" else [facts.user.name]
    return any(fits(one, name) for one in wanted for name in names)


def first_match(rules: list[Written], facts: Facts) -> int | None:
    """The number of the rule that decides, or None where none matches."""
    for number, rule in enumerate(rules):
        if all(holds(key, wanted, facts, rule) for key, wanted in rule.conditions):
            return number
    return None


def let_in(rules: list[Written], facts: Facts) -> bool:
    number = first_match(rules, facts)
    return True if number is None else rules[number].allows


def built(rules: list[Written]) -> Access:
    """The same rules, as the product has them."""

    def condition(key, wanted, rule):
        if key == "address":
            return FromNetwork(networks(wanted))
        if key == "certificate":
            return HasCertificate(tuple(pattern(one, ignore_case=True) for one in wanted))
        patterns = tuple(pattern(one) for one in wanted)
        if key in ("calling", "called"):
            return HasTitle(key, patterns, rule.lenient, denies=not rule.allows)
        return IsUser(patterns, roles=key == "roles")

    return Access(
        [
            Rule(f"access[{number}]", rule.allows, tuple(condition(*one, rule) for one in rule.conditions))
            for number, rule in enumerate(rules)
        ]
    )


def completions(facts: Facts, changing: tuple[str, ...] = ()) -> list[Facts]:
    """Everybody in the universe of whom ``facts`` may be known; ``changing`` are facts that may be others."""
    choices = [
        UNIVERSE[key] if getattr(facts, key) is UNKNOWN or key in changing else [getattr(facts, key)]
        for key in UNIVERSE
    ]
    return [Facts(*each) for each in itertools.product(*choices)]


@st.composite
def conditions(draw, keys):
    chosen = draw(st.lists(st.sampled_from(sorted(keys)), max_size=3, unique=True)) if keys else []
    return tuple((key, draw(st.sampled_from(WRITTEN[key]))) for key in chosen)


RULES = st.lists(st.builds(Written, st.booleans(), conditions(WRITTEN), st.booleans()), max_size=5)


@st.composite
def unrelated_rules(draw):
    """Rules no two of which ask for the same fact that comes later: what one answers says nothing of another."""
    count = draw(st.integers(0, 4))
    owner = {fact: draw(st.integers(0, max(count - 1, 0))) for fact in LATER}
    by_user = draw(st.sampled_from(["users", "roles"]))
    rules = []
    for number in range(count):
        keys = [by_user if fact == "user" else fact for fact in LATER if owner[fact] == number]
        rules.append(Written(draw(st.booleans()), draw(conditions(["address", *keys])), draw(st.booleans())))
    return rules


WHOLE = st.builds(Facts, *(st.sampled_from(UNIVERSE[key]) for key in UNIVERSE))


@st.composite
def partial(draw):
    return replace(draw(WHOLE), **{key: UNKNOWN for key in LATER if draw(st.booleans())})


@given(RULES, WHOLE)
@settings(max_examples=150)
def test_once_everything_is_known_the_first_rule_that_matches_decides(rules, facts):
    access = built(rules)
    number = first_match(rules, facts)
    assert access.possible(facts) == [DEFAULT if number is None else access.rules[number]]
    assert (access.refusal(facts) is None) == let_in(rules, facts)


@given(RULES, partial())
@settings(max_examples=150)
def test_a_peer_is_refused_early_only_where_nothing_could_still_let_it_in(rules, facts):
    """Also where rules are about the same facts, so that one's answer would have told another's."""
    refusal = built(rules).refusal(facts)
    if refusal:
        assert not any(let_in(rules, each) for each in completions(facts))


def test_the_rule_that_is_named_is_one_that_matches_whatever_else_there_is_to_know():
    """A line of the log sends the sysadmin to it."""
    lan, evil, everybody = (("address", ("10.0.0.0/16",)),), (("calling", ("EVIL",)),), ()
    access = built([Written(True, lan), Written(False, evil), Written(False, everybody)])
    facts = Facts(parse_address("192.168.0.1"))
    assert access.refusal(facts).rule.matches(facts) is True


@given(unrelated_rules(), partial())
@settings(max_examples=150)
def test_a_peer_is_refused_as_soon_as_nothing_could_still_let_it_in(rules, facts):
    hopeless = not any(let_in(rules, each) for each in completions(facts))
    assert (built(rules).refusal(facts) is not None) == hopeless


@given(RULES, partial())
@settings(max_examples=100)
def test_the_rules_that_may_decide_are_those_that_do_for_somebody(rules, facts):
    """The deciding rule is always among them, however the rest turns out."""
    keys = {rule.key for rule in built(rules).possible(facts)}
    for each in completions(facts):
        number = first_match(rules, each)
        assert ("" if number is None else f"access[{number}]") in keys


@given(unrelated_rules(), partial())
@settings(max_examples=150)
def test_the_reason_is_the_least_that_would_have_to_be_another(rules, facts):
    refusal = built(rules).refusal(facts)
    if refusal is None:
        return

    def helps(*changing: str) -> bool:
        return any(let_in(rules, each) for each in completions(facts, changing))

    expected = (
        *(("calling", helps("calling")), ("called", helps("called")), ("calling", helps("calling", "called"))),
        *(("user", helps("user")), ("certificate", helps(*LATER)), ("address", True)),
    )
    assert refusal.because == next(fact for fact, lets_in in expected if lets_in)


def test_a_wrong_title_is_told_before_anybody_is_asked_who_it_is():
    """So that reason 3 or 7 is sent, and no identity is verified for nothing."""
    access = built([Written(True, (("calling", ("CT*",)), ("users", ("alice",)))), Written(False, ())])
    address = parse_address("10.0.0.1")
    refusal = access.refusal(Facts(address, (), Title("MR1"), Title("ARCHIVE")))
    assert (refusal.rule.key, refusal.because) == ("access[1]", "calling")
    assert access.refusal(Facts(address, (), Title("CT1"), Title("ARCHIVE"))) is None
    assert access.refusal(Facts(address, (), Title("CT1"), Title("ARCHIVE"), None)).because == "user"


def test_without_rules_everybody_is_let_in():
    assert Access([]).refusal(Facts(parse_address("::1"))) is None
    assert Access([]).possible(Facts(parse_address("::1"))) == [DEFAULT]


# -- globs

LETTERS = "aAbB*?[]!^\\.-|$+(){}\n"


@given(st.text(LETTERS, max_size=8), st.text(LETTERS.replace("*", "").replace("?", ""), max_size=10))
@settings(max_examples=500)
def test_only_star_and_question_mark_mean_something(glob, text):
    assert bool(pattern(glob).match(text)) == fits(glob, text)


@pytest.mark.parametrize("sign", list("[]!^\\.-|$+(){}#"))
def test_every_other_sign_stands_for_itself_and_nothing_else(sign):
    assert pattern(f"CT{sign}1").match(f"CT{sign}1")
    for other in ("CT1", "CTx1", f"CT{sign}1 ", f"CT{sign}1\n", f"xCT{sign}1"):
        assert not pattern(f"CT{sign}1").match(other)


@pytest.mark.parametrize("glob", ["[CM]T1", "[!X]T1", "CT[0-9]", "[*]", "[?]T1"])
def test_a_bracket_is_no_choice_of_letters(glob):
    for text in ("CT1", "MT1", "*"):
        assert not pattern(glob).match(text)


def test_titles_are_compared_by_case_and_certificates_are_not():
    assert not pattern("CT*").match("ct1")
    assert pattern("CN=CT*.Hospital.example", ignore_case=True).match("cn=ct1.hospital.EXAMPLE")


@pytest.mark.parametrize("name", ["CN=ct1.ho\u017fpital.example", "CN=desk.\u212ainik.example"])
def test_a_letter_that_only_looks_alike_is_another(name):
    """A CA that signs it has not signed the name that the rule means."""
    patterns = [pattern(glob, ignore_case=True) for glob in ("CN=*.hospital.example", "CN=*.kinik.example")]
    assert not any(one.match(name) for one in patterns)


@pytest.mark.parametrize("glob", ["*a" * 8, "*a*" + "a*" * 6, "a*" * 8, "*?" * 8, "?*" * 7 + "b", "*a" * 7 + "*b"])
@pytest.mark.parametrize("text", ["a" * 65_535, "a" * 65_534 + "c", "ab" * 32_767])
def test_no_pattern_and_no_text_make_a_comparison_slow(glob, text):
    begin = time.process_time()
    pattern(glob).match(text)
    assert time.process_time() - begin < 2.0


# -- addresses


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.20.0.1", "10.20.0.1"),
        ("::ffff:10.20.0.1", "10.20.0.1"),
        ("::FFFF:0A14:0001", "10.20.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%25", "fe80::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::10.20.0.1", "::a14:1"),
        ("64:ff9b::10.20.0.1", "64:ff9b::a14:1"),
    ],
)
def test_an_address_is_taken_for_what_it_is(host, address):
    """An IPv4 peer of an IPv6 socket is an IPv4 peer; what only embeds an IPv4 address is not."""
    assert parse_address(host) == ipaddress.ip_address(address)


@pytest.mark.parametrize("host", ["", "localhost", "10.0.0", "010.0.0.1", "10.0.0.1:104", "[::1]", "::1]", "%eth0"])
def test_what_is_no_address_is_refused(host):
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_address(host)


@pytest.mark.parametrize(
    ("network", "host", "lies_in"),
    [
        ("10.20.0.0/16", "10.20.255.255", True),
        ("10.20.0.0/16", "10.21.0.0", False),
        ("10.20.0.0/16", "::ffff:10.20.0.1", True),
        ("10.20.0.1", "10.20.0.1", True),
        ("10.20.0.1", "10.20.0.2", False),
        ("0.0.0.0/0", "255.255.255.255", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "10.20.0.1", False),
        ("::/0", "::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("fe80::1", "fe80::1%eth1", True),
        ("fd00::/8", "fe00::1", False),
        ("10.20.0.0/255.255.0.0", "10.20.9.9", True),
    ],
)
def test_a_network_holds_the_addresses_of_its_prefix_and_of_its_family(network, host, lies_in):
    assert FromNetwork(networks([network]))(Facts(parse_address(host))) is lies_in


@pytest.mark.parametrize("network", ["::ffff:10.20.0.1", "::ffff:10.20.0.0/112"])
def test_a_rule_about_an_ipv4_mapped_network_is_about_those_peers(network):
    assert FromNetwork(networks([network]))(Facts(parse_address("::ffff:10.20.0.1")))


# -- AE titles


@pytest.mark.parametrize(
    ("field", "title"),
    [
        (b"CT1             ", Title("CT1")),
        (b"  CT1           ", Title("CT1")),
        (b"CT1\0\0\0\0\0\0\0\0\0\0\0\0\0", Title("CT1", "padded with NUL")),
        (b"CT1            \0", Title("CT1", "padded with NUL")),
        (b" " * 16, Title("", "blank")),
        (b"\0" * 16, Title("", "blank")),
        (b" \0" * 8, Title("", "blank")),
        (b"ABCDEFGHIJKLMNOP", Title("ABCDEFGHIJKLMNOP")),
    ],
)
def test_a_title_is_its_text_and_what_is_irregular_about_it(field, title):
    text = field.rstrip(b"\0").strip(b" ").decode("ascii", "backslashreplace")
    assert Title.of(field, text) == title


@pytest.mark.parametrize("which", ["calling", "called"])
@pytest.mark.parametrize(
    ("title", "glob", "strict", "lenient"),
    [
        (Title("CT1"), "CT1", True, True),
        (Title("CT1"), "CT", False, False),
        (Title("CT1"), "MR*", False, False),
        (Title("CT1", "padded with NUL"), "CT1", False, True),
        (Title("CT1", "padded with NUL"), "MR1", False, False),
        (Title("CT1", "padded with NUL"), "*", False, True),
        (Title("", "blank"), "CT1", False, True),
        (Title("", "blank"), "*", False, True),
        (UNKNOWN, "CT1", None, None),
        (UNKNOWN, "*", None, None),
    ],
)
def test_an_irregular_title_fits_only_where_that_was_asked_for(which, title, glob, strict, lenient):
    facts = replace(Facts(parse_address("::1")), **{which: title})
    assert HasTitle(which, (pattern(glob),))(facts) is strict
    assert HasTitle(which, (pattern(glob),), lenient=True)(facts) is lenient


def test_no_deny_rule_is_passed_by_filling_a_title_up_with_nul():
    """The log and every service then call it EVIL as well."""
    access = built([Written(False, (("calling", ("EVIL",)),))])
    padded = Title.of(b"EVIL".ljust(16, b"\0"), "EVIL")
    assert access.refusal(Facts(parse_address("::1"), (), padded, Title("ARCHIVE"), None))


# -- what a peer that was let in may do

CT = SOP_CLASSES["CTImageStorage"]
ECHO = SOP_CLASSES["Verification"]
FIND = SOP_CLASSES["StudyRootQueryRetrieveInformationModelFind"]
MOVE = SOP_CLASSES["StudyRootQueryRetrieveInformationModelMove"]
GET = SOP_CLASSES["StudyRootQueryRetrieveInformationModelGet"]
WORKLIST = SOP_CLASSES["ModalityWorklistInformationModelFind"]
MPPS = SOP_CLASSES["ModalityPerformedProcedureStep"]
COMMITMENT = SOP_CLASSES["StorageCommitmentPushModel"]


def refused(permission: Permission, uid: str, *, as_scu: bool = False, as_scp: bool = True) -> str:
    return permission.refuses(AcceptedContext(1, uid, "1.2.840.10008.1.2", as_scu, as_scp))


@pytest.mark.parametrize("uid", [CT, ECHO, FIND, MOVE, GET, WORKLIST, MPPS, COMMITMENT, "1.2.3.4"])
@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("write", [True, False])
def test_verification_is_neither_queries_are_reading_and_the_rest_is_writing(uid, read, write):
    told = refused(Permission(None, read, write), uid)
    if uid == ECHO:
        assert told == ""
    elif uid in (FIND, MOVE, GET, WORKLIST):
        assert told == ("" if read else "this peer may not read")
    else:
        assert told == ("" if write else "this peer may not write")


@pytest.mark.parametrize(
    ("as_scu", "as_scp", "read", "write", "told"),
    [
        (True, False, True, False, ""),  # C-GET: it is SCP, and is given what it asked for
        (True, False, False, True, "this peer may not read"),
        (True, True, True, False, "this peer may not write"),
        (True, True, False, True, "this peer may not read"),
        (True, True, True, True, ""),
        (False, True, False, True, ""),
    ],
)
def test_a_storage_context_with_reversed_roles_is_reading(as_scu, as_scp, read, write, told):
    assert refused(Permission(None, read, write), CT, as_scu=as_scu, as_scp=as_scp) == told


def test_sop_classes_are_a_list_of_what_is_allowed_and_verification_is_one_of_them():
    permission = Permission(frozenset((CT, FIND)))
    assert [refused(permission, uid) for uid in (CT, FIND)] == ["", ""]
    assert refused(permission, MOVE) == "StudyRootQueryRetrieveInformationModelMove is not allowed to this peer"
    assert refused(permission, ECHO) == "Verification is not allowed to this peer"
    assert refused(permission, "1.2.3.4") == "1.2.3.4 is not allowed to this peer"


def test_nothing_is_allowed_that_neither_list_nor_may_allows():
    permission = Permission(frozenset((FIND,)), read=False)
    assert refused(permission, FIND) == "this peer may not read"
    assert refused(permission, CT) == "CTImageStorage is not allowed to this peer"


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("10.20.1.2", "10.20.1.2"),
        ("::ffff:10.20.1.2", "10.20.1.2"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_machine_with_a_whole_network_of_addresses_is_counted_as_one(host, counted):
    assert source(host) == counted
