"""What becomes of a user identity: every policy, every claim, every answer of the providers, in one table."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress

import pytest

from scpd.errors import NotVerified, Unavailable
from scpd.identity.claim import Claim, Form, User
from scpd.identity.lockout import Lockout
from scpd.identity.policy import Identities, IdentityPolicy, Verdict
from scpd.wire.pdu import AssociateRJ
from scpd.wire.user_info import UserIdentityAC, UserIdentityRQ

PATIENCE = 20.0
# PS3.8 table 9-21: permanently, by the ACSE related function, no reason given.
FAILS = AssociateRJ(1, 2, 1)
# Transiently, by the presentation related function, temporary congestion.
AWAY = AssociateRJ(2, 3, 1)
SECRET = b"s3cret-of-the-peer"
ALICE = User("alice", frozenset(("doctor",)), b"ticket")


class Answers:
    """A provider that answers what it is told to, and counts."""

    warning = ""

    def __init__(self, answer: object, forms: object = Form) -> None:
        self.forms = frozenset(forms)
        self.answer = answer
        self.asked: list[Claim] = []

    def verify(self, claim: Claim) -> User:
        self.asked.append(claim)
        if isinstance(self.answer, User):
            return self.answer
        raise {"no": NotVerified, "away": Unavailable}[self.answer](f"it says {self.answer}", "'alice'")


def sent(form: int = Form.PASSCODE, *, asked: bool = True, name: bytes = b"alice") -> UserIdentityRQ:
    return UserIdentityRQ(form, asked, name, SECRET)


def identities(*answers: object, lockout: Lockout | None = None, clock=lambda: 0.0, **policy) -> Identities:
    providers = [one if isinstance(one, Answers) else Answers(one) for one in answers]
    return Identities(IdentityPolicy(**policy), providers, lockout or Lockout(0, 300.0), clock)


CLAIMS = {
    "none": (),
    "passcode": (sent(),),
    "passcode, no answer wanted": (sent(asked=False),),
    "kerberos": (sent(Form.KERBEROS),),
    "username": (sent(Form.USERNAME),),
    "unknown form": (sent(9),),
    "two": (sent(), sent()),
    "two of other forms": (sent(Form.KERBEROS), sent(9)),
}
PROVIDERS: dict[str, list[object]] = {
    "nobody": [],
    "yes": [ALICE],
    "no": ["no"],
    "away": ["away"],
    "no, then yes": ["no", ALICE],
    "away, then yes": ["away", ALICE],
    "no, then away": ["no", "away"],
    "away, then no": ["away", "no"],
    "no, then no": ["no", "no"],
}
TABLE = list(
    itertools.product(
        ("ignore", "accept", "require"),
        CLAIMS,
        PROVIDERS,
        (True, False),
        ("ignore", "reject"),
        ("reject", "allow"),
        (True, False),
    )
)


def expected(policy, claim, providers, respond, unsupported, without_tls, protected) -> tuple[object, ...]:
    """(the user, the positive response, the rejection, the key that decides), told once more in other words."""
    nothing = (None, None, None, "")
    if policy == "ignore":
        return nothing
    if claim.startswith("two"):
        return None, None, FAILS, "user_identity"
    required = (None, None, FAILS, "user_identity.policy") if policy == "require" else nothing
    if claim == "none":
        return required
    if providers == "nobody" or claim == "unknown form":
        return (None, None, FAILS, "user_identity.unsupported") if unsupported == "reject" else required
    if claim.startswith("passcode") and not protected and without_tls == "reject":
        return None, None, FAILS, "user_identity.without_tls"
    if "yes" in providers:
        wanted = respond and claim != "passcode, no answer wanted"
        return ALICE, UserIdentityAC(b"ticket") if wanted else None, None, ""
    parts = providers.split(", then ")
    if "away" in parts:
        return None, None, AWAY, f"user_identity.providers[{parts.index('away')}]"
    return None, None, FAILS, f"user_identity.providers[{len(parts) - 1}]"


@pytest.mark.parametrize("policy", ["ignore", "accept", "require"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_the_whole_table(policy, claim):
    for case in TABLE:
        if case[:2] != (policy, claim):
            continue
        _, _, providers, respond, unsupported, without_tls, protected = case
        judge = identities(
            *(Answers(answer) for answer in PROVIDERS[providers]),
            policy=policy, respond=respond, unsupported=unsupported, without_tls=without_tls,
        )  # fmt: skip
        verdict = judge.judge(CLAIMS[claim], "10.0.0.1", protected=protected)
        answer, key = (verdict.rejection.answer, verdict.rejection.key) if verdict.rejection else (None, "")
        assert (verdict.user, verdict.response, answer, key) == expected(*case), case
        if verdict.rejection:
            assert verdict.rejection.why, case
            assert SECRET.decode() not in repr(verdict), case
        asked = [len(one.asked) for one in judge.providers]
        assert asked == calls(case), case


def calls(case) -> list[int]:
    """How often each provider is asked: one after the other until one says yes, and nobody for what is refused before."""
    policy, claim, providers, *_ = case
    nobody = [0] * len(PROVIDERS[providers])
    user, _, _, key = expected(*case)
    if (
        policy == "ignore"
        or claim in ("none", "unknown form")
        or claim.startswith("two")
        or key.endswith("without_tls")
    ):
        return nobody
    return [1] * len(nobody) if user or "providers" in key else nobody


@pytest.mark.parametrize("form", list(Form))
def test_what_can_be_overheard_and_used_again_needs_tls_and_a_sealed_ticket_does_not(form):
    one = Answers(ALICE)
    verdict = identities(one).judge((sent(form),), "10.0.0.1", protected=False)
    harmless = form in (Form.USERNAME, Form.KERBEROS)
    assert bool(verdict.user) is harmless
    assert len(one.asked) == harmless
    assert harmless or "without TLS" in verdict.rejection.why


@pytest.mark.parametrize("form", [0, 6, 9, 255])
def test_a_form_that_does_not_exist_is_told_by_its_number(form):
    verdict = identities(ALICE, unsupported="reject").judge((sent(form),), "10.0.0.1", protected=True)
    assert verdict.form == f"type {form}"
    assert verdict.rejection.why == f"a type {form} was sent, which no provider verifies"


def test_only_providers_of_the_form_are_asked_and_each_is_called_by_its_own_number():
    jwt, passcode = Answers(ALICE, [Form.JWT]), Answers("no", [Form.PASSCODE])
    verdict = identities(jwt, passcode).judge((sent(),), "10.0.0.1", protected=True)
    assert (len(jwt.asked), len(passcode.asked)) == (0, 1)
    assert verdict.rejection.key == "user_identity.providers[1]"
    assert (verdict.claimed, verdict.form) == ("'alice'", "username and passcode")


def test_a_claim_reaches_the_provider_as_it_was_sent():
    one = Answers(ALICE)
    raw = UserIdentityRQ(Form.PASSCODE, False, b"\xff\0alice", b"\0\xfe")
    identities(one).judge((raw,), "10.0.0.1", protected=True)
    assert one.asked == [Claim(Form.PASSCODE, b"\xff\0alice", b"\0\xfe")]


def test_ignored_means_not_even_looked_at():
    one = Answers(ALICE)
    assert identities(one, policy="ignore").judge((sent(), sent()), "10.0.0.1", protected=False) == Verdict()
    assert one.asked == []


# -- who guesses


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def guess(judge: Identities, name: bytes = b"alice", address: str = "10.0.0.1", form: int = Form.PASSCODE) -> Verdict:
    return judge.judge((sent(form, name=name),), address, protected=True)


def test_whoever_guessed_too_often_is_not_asked_again_until_the_time_is_over():
    clock, one = Clock(), Answers("no")
    judge = identities(one, lockout=Lockout(3, 300.0), clock=clock)
    for _ in range(3):
        assert guess(judge).rejection.key == "user_identity.providers[0]"
    one.answer = ALICE  # even with the right one now
    verdict = guess(judge)
    assert (verdict.rejection.answer, verdict.rejection.key) == (FAILS, "user_identity.lockout")
    assert "wait" in verdict.rejection.why
    assert verdict.claimed == "'alice'"
    assert len(one.asked) == 3
    clock.now = 300.0
    assert guess(judge).user == ALICE


def test_a_lock_is_for_one_user_from_one_address():
    one = Answers("no")
    judge = identities(one, lockout=Lockout(1, 300.0))
    guess(judge)
    one.answer = ALICE
    assert guess(judge).rejection.key == "user_identity.lockout"
    assert guess(judge, name=b"bob").user
    assert guess(judge, address="10.0.0.2").user
    assert guess(judge, name=b"").user


def test_no_name_and_address_can_be_mistaken_for_others():
    one = Answers("no")
    judge = identities(one, lockout=Lockout(1, 300.0))
    guess(judge, name=b"x\0y", address="10.0.0.1")
    one.answer = ALICE
    assert guess(judge, name=b"x", address="10.0.0.1").user
    assert guess(judge, name=b"1x\0y", address="10.0.0.").user


def test_success_clears_what_was_held_against_the_user():
    one = Answers("no")
    judge = identities(one, lockout=Lockout(2, 300.0))
    for answer in ("no", ALICE, "no"):
        one.answer = answer
        guess(judge)
    one.answer = ALICE
    assert guess(judge).user == ALICE


def test_a_provider_that_is_away_is_no_guess():
    one = Answers("away")
    judge = identities(one, lockout=Lockout(1, 300.0))
    for _ in range(5):
        assert guess(judge).rejection.answer == AWAY
    one.answer = ALICE
    assert guess(judge).user == ALICE


@pytest.mark.parametrize("form", [Form.USERNAME, Form.KERBEROS, Form.SAML, Form.JWT])
def test_what_cannot_be_guessed_locks_nobody(form):
    one = Answers("no")
    judge = identities(one, lockout=Lockout(1, 300.0))
    for _ in range(3):
        assert guess(judge, form=form).rejection.key == "user_identity.providers[0]"
    one.answer = ALICE
    assert guess(judge, form=form).user == ALICE


def test_a_long_name_costs_the_lockout_no_memory():
    lockout = Lockout(5, 300.0)
    guess(identities("no", lockout=lockout), name=b"x" * 1024)
    guess(identities("no", lockout=lockout), name=b"x" * 65_535)  # which no provider takes
    assert [len(key) for key in lockout._entries] == [32]


def test_whoever_guesses_many_times_at_once_has_no_more_guesses():
    together = threading.Barrier(20)

    class Slow(Answers):
        def verify(self, claim: Claim) -> User:
            with suppress(threading.BrokenBarrierError):
                together.wait(1.0)  # all of them are being verified, unless some are kept out
            return super().verify(claim)

    one = Slow("no")
    judge = identities(one, lockout=Lockout(3, 300.0))
    threads = [threading.Thread(target=guess, args=(judge,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(one.asked) <= 3


def test_while_one_provider_is_away_the_passcodes_of_another_cannot_be_guessed_for_ever():
    """Passwords in a file beside a directory that is down: each guess is compared, and a right one gets in."""
    file, directory = Answers("no"), Answers("away")
    judge = identities(file, directory, lockout=Lockout(3, 300.0))
    for _ in range(10):
        guess(judge)
    assert len(file.asked) == 3


SPELLINGS = ["alice b", "Alice B", "ALICE B", "\uff41lice b", "alice\u00a0b"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_name_in_another_spelling_is_not_a_user_with_guesses_of_its_own(spelling):
    """A directory takes all of them for the same user (caseIgnoreMatch, RFC 4517 4.2.11)."""
    one = Answers("no")
    judge = identities(one, lockout=Lockout(1, 300.0))
    guess(judge, name=b"alice b")
    guess(judge, name=spelling.encode())
    assert len(one.asked) == 1


def test_a_name_with_more_spaces_is_not_a_user_with_guesses_of_its_own():
    """Whoever has a space in its name may be guessed at for ever (RFC 4518 2.6.1)."""
    one = Answers("no")
    judge = identities(one, lockout=Lockout(1, 300.0))
    for spaces in range(1, 5):
        guess(judge, name=b"alice" + b" " * spaces + b"b")
    assert len(one.asked) == 1


def test_no_name_takes_long_to_look_up():
    """64 KiB of a peer that nobody knows yet; everybody else waits meanwhile."""
    hostile = "a" + "\u0300" * 8_000 + "\u0316" * 8_000
    begin = time.process_time()
    guess(identities("no", lockout=Lockout(5, 300.0)), name=hostile.encode())
    assert time.process_time() - begin < 0.1


def test_a_lock_says_nothing_of_whether_there_is_such_a_user():
    judge = identities("no", lockout=Lockout(1, 300.0))
    verdicts = [guess(judge, name=name) for name in (b"alice", b"eve") for _ in range(2)]
    assert [one.rejection.answer for one in verdicts] == [FAILS] * 4


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"a\nb", b"x" * 65_535])
def test_what_is_repeated_of_a_locked_name_is_quoted_and_short(name):
    judge = identities("no", lockout=Lockout(1, 300.0))
    guess(judge, name=name)
    verdict = guess(judge, name=name)
    assert verdict.claimed[0] == "'"
    assert len(verdict.claimed) <= 70
    assert verdict.claimed.isprintable()


def test_many_threads_are_judged_each_for_itself():
    class Mirror(Answers):
        def verify(self, claim: Claim) -> User:
            if claim.primary.endswith(b"0"):
                raise NotVerified("no", claim.primary.decode())
            return User(claim.primary.decode())

    judge = identities(Mirror(None), lockout=Lockout(1000, 300.0))
    wrong: list[str] = []

    def come(number: int) -> None:
        for round_ in range(50):
            name = f"{number}-{round_}"
            verdict = guess(judge, name.encode())
            told = verdict.claimed if name.endswith("0") else verdict.user and verdict.user.name
            if told != name:
                wrong.append(name)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
