"""User names and passcodes: who is let in and who is not, by the file as it stands now, at the same cost for everybody."""

from __future__ import annotations

import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.errors import NotVerified, SettingError, Unavailable
from scpd.identity import passwords
from scpd.identity.claim import Claim, Form, User
from scpd.identity.password_file import Entry, change
from scpd.identity.passwords import Passwords
from scpd.identity.pool import Pool
from scpd.identity.usernames import Usernames

PATIENCE = 60.0
# As weak as argon2 allows: what it protects here is nothing.
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, hash_len=16)
LONG = b"x" * 65_535
HASHES = {name: CHEAP.hash(passcode) for name, passcode in {"alice": "right", "bob": "pässwörd", "long": LONG}.items()}
CONTENT = f"alice:{HASHES['alice']}:doctor,nurse\nbob:{HASHES['bob']}\nlong:{HASHES['long']}\n"


class Counting(Pool):
    """A pool that counts what it is given."""

    def __init__(self) -> None:
        super().__init__(2, PATIENCE)
        self.count = 0

    def run(self, work):
        self.count += 1
        return super().run(work)


@pytest.fixture
def pool():
    one = Counting()
    yield one
    one.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "users"
    path.write_text(CONTENT)
    path.chmod(0o640)
    return path


@pytest.fixture
def users(file, pool):
    return Passwords(file, pool)


def claim(name: str | bytes, passcode: str | bytes) -> Claim:
    def raw(text):
        return text.encode() if isinstance(text, str) else text

    return Claim(Form.PASSCODE, raw(name), raw(passcode))


def is_let_in(users: Passwords, name: str | bytes, passcode: str | bytes) -> bool:
    try:
        return bool(users.verify(claim(name, passcode)))
    except NotVerified:
        return False


# -- who is let in


@pytest.mark.parametrize(
    ("name", "passcode", "user"),
    [
        ("alice", "right", User("alice", frozenset(("doctor", "nurse")))),
        ("bob", "pässwörd", User("bob")),
        ("long", LONG, User("long")),
    ],
)
def test_the_right_passcode_gives_the_user_and_its_roles(users, name, passcode, user):
    assert users.verify(claim(name, passcode)) == user


@pytest.mark.parametrize(
    ("name", "passcode", "why"),
    [
        ("alice", "wrong", "the passcode of user 'alice' is wrong"),
        ("alice", "", "the passcode of user 'alice' is wrong"),
        ("alice", "Right", "the passcode of user 'alice' is wrong"),
        ("alice", "right ", "the passcode of user 'alice' is wrong"),
        ("alice", "right\0", "the passcode of user 'alice' is wrong"),
        ("alice", "pässwörd", "the passcode of user 'alice' is wrong"),
        ("alice", b"\xff\xfe", "the passcode of user 'alice' is wrong"),
        ("alice", LONG, "the passcode of user 'alice' is wrong"),
        pytest.param("alice", HASHES["alice"], "the passcode of user 'alice' is wrong", id="the hash itself"),
        ("bob", "pässwörd".encode("latin-1"), "the passcode of user 'bob' is wrong"),
        ("long", LONG[:-1], "the passcode of user 'long' is wrong"),
        ("eve", "right", "has no user 'eve'"),
        ("", "", "has no user ''"),
        ("", "right", "has no user ''"),
        ("Alice", "right", "has no user 'Alice'"),
        ("alice ", "right", "has no user 'alice '"),
        ("alice\0", "right", r"has no user 'alice\\x00'"),
        ("alice:", "right", "has no user 'alice:'"),
        ("#", "right", "has no user '#'"),
        ("eve\nlevel=error", "right", r"has no user 'eve\\nlevel=error'"),
        (b"\xff", "right", "the user name is not UTF-8"),
        (b"alice\xff", "right", "the user name is not UTF-8"),
        ("x" * 65_535, "right", "the user name is longer than any in a file$"),
    ],
)
def test_anything_else_gives_nobody_and_says_why_without_the_passcode(users, name, passcode, why):
    with pytest.raises(NotVerified, match=why) as caught:
        users.verify(claim(name, passcode))
    assert len(caught.value.why) < 400
    assert len(caught.value.user) <= 70
    assert "$argon2" not in caught.value.why
    assert not (passcode in ("wrong", "Right") and passcode in caught.value.why.replace("is wrong", ""))


@given(name=st.binary(max_size=40), passcode=st.binary(max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_are_sent_they_are_nobody(users, name, passcode):
    with pytest.raises(NotVerified):
        users.verify(claim(name, passcode))


def test_an_empty_file_lets_nobody_in(tmp_path, pool):
    (tmp_path / "none").write_text("")
    assert not is_let_in(Passwords(tmp_path / "none", pool), "alice", "right")
    assert pool.count == 1


def test_a_claim_shows_no_secret(users):
    assert "right" not in repr(claim("alice", "right"))


# -- the same cost for everybody


@pytest.mark.parametrize("name", ["alice", "bob", "eve", "", "x" * 1024])
def test_every_login_is_one_comparison_of_the_same_cost(users, pool, monkeypatch, name):
    compared = []
    real = passwords._fits
    monkeypatch.setattr(passwords, "_fits", lambda hash_, passcode: compared.append(hash_) or real(hash_, passcode))
    assert not is_let_in(users, name, "wrong")
    assert pool.count == 1
    (hash_,) = compared
    assert hash_.startswith("$argon2id$v=19$m=8,t=1,p=1$")


def test_an_unknown_user_takes_about_as_long_as_a_known_one(tmp_path, pool):
    costly = argon2.PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1)
    path = tmp_path / "users"
    path.write_text(f"alice:{costly.hash('right')}\n")
    users = Passwords(path, pool)
    took: dict[str, list[float]] = {"alice": [], "eve": []}
    for _ in range(25):
        for name, times in took.items():
            begin = time.perf_counter()
            assert not is_let_in(users, name, "wrong")
            times.append(time.perf_counter() - begin)
    known, unknown = (statistics.median(times) for times in took.values())
    assert 0.4 < unknown / known < 2.5


def test_a_guess_at_nobodys_passcode_never_fits(users):
    """What stands in for an unknown user is no hash of anything."""
    assert not any(is_let_in(users, "eve", guess) for guess in ("", "right", users._nobody))


# -- the file as it is now


def test_a_change_counts_from_the_next_login_on(users, file):
    change(file, "dora", lambda was: Entry(HASHES["alice"]))
    assert is_let_in(users, "dora", "right")
    change(file, "dora", lambda was: Entry(HASHES["bob"], frozenset("r")))
    assert not is_let_in(users, "dora", "right")
    assert users.verify(claim("dora", "pässwörd")) == User("dora", frozenset("r"))
    change(file, "dora", lambda was: None)
    assert not is_let_in(users, "dora", "pässwörd")
    assert users.warning == ""


def rewrite(file, old: str, new: str, **times) -> None:
    """In place, as an editor may do it: the same file, the same size; ``later`` is its age in nanoseconds."""
    before = file.stat()
    with file.open("r+") as stream:
        stream.write(CONTENT.replace(old, new))
    assert file.stat().st_size == before.st_size
    assert file.stat().st_ino == before.st_ino
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + times.get("later", 0)))


def test_a_change_in_place_within_a_second_and_of_the_same_size_counts_too(users, file):
    assert is_let_in(users, "alice", "right")
    rewrite(file, HASHES["alice"], CHEAP.hash("newer"), later=1)
    assert not is_let_in(users, "alice", "right")
    assert is_let_in(users, "alice", "newer")


def test_a_change_counts_whatever_its_time_of_modification_says(users, file):
    assert is_let_in(users, "alice", "right")
    rewrite(file, HASHES["alice"], CHEAP.hash("newer"))
    assert is_let_in(users, "alice", "newer")


def test_what_changes_while_it_is_read_is_read_again(file, pool, monkeypatch):
    real = passwords.read

    def read(path):
        users = real(path)
        monkeypatch.setattr(passwords, "read", real)
        change(path, "dora", lambda was: Entry(HASHES["alice"]))
        return users

    monkeypatch.setattr(passwords, "read", read)
    assert is_let_in(Passwords(file, pool), "dora", "right")


def test_a_file_that_did_not_change_is_not_read(users, monkeypatch):
    monkeypatch.setattr(passwords, "read", lambda path: pytest.fail("it was read"))
    assert all(is_let_in(users, "alice", "right") for _ in range(3))


@pytest.mark.parametrize(
    ("breaks", "what"),
    [
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.write_bytes(b"\xff"), "is not UTF-8"),
        (lambda file: file.write_text(CONTENT + "eve:secret\n"), "line 4 holds no argon2id hash"),
        (lambda file: file.write_text(CONTENT + CONTENT), "line 4 repeats the user"),
        (
            lambda file: file.write_text("alice:$argon2id$v=19$m=4194304,t=2,p=1$" + "A" * 22 + "$" + "A" * 43),
            "too long",
        ),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read"),
    ],
)
def test_a_file_that_breaks_later_leaves_the_old_users_in_force_and_says_so(users, file, breaks, what):
    breaks(file)
    for _ in range(2):
        assert is_let_in(users, "alice", "right")
        assert not is_let_in(users, "eve", "secret")
        assert what in users.warning
        assert users.warning.endswith("; what stood there before stays in force")
        assert str(file) in users.warning
        assert "secret" not in users.warning


def test_a_file_that_is_mended_counts_and_nothing_is_said_any_more(users, file):
    file.unlink()
    assert is_let_in(users, "alice", "right")
    assert users.warning
    file.write_text(f"dora:{HASHES['alice']}\n")
    file.chmod(0o600)
    assert is_let_in(users, "dora", "right")
    assert not is_let_in(users, "alice", "right")
    assert users.warning == ""


def test_a_file_that_is_broken_at_the_start_is_refused(tmp_path, pool):
    with pytest.raises(SettingError, match="No such file") as caught:
        Passwords(tmp_path / "none", pool)
    assert caught.value.key == "file"


@pytest.mark.parametrize(
    ("mode", "warns"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True), (0o666, True)]
)
def test_hashes_that_everybody_may_read_are_told(file, pool, mode, warns):
    file.chmod(mode)
    expected = f"{file} is readable by every user of this machine; chmod o-r {file}" if warns else ""
    assert Passwords(file, pool).warning == expected


@pytest.mark.parametrize("modes", [(0o640, 0o644), (0o644, 0o640)])
def test_following_the_advice_ends_the_warning_and_undoing_it_brings_it_back(file, pool, modes):
    file.chmod(modes[0])
    users = Passwords(file, pool)
    file.chmod(modes[1])
    assert is_let_in(users, "alice", "right")
    assert bool(users.warning) is (modes[1] == 0o644)


# -- many at once


def test_twenty_threads_at_once_get_the_right_answers_while_the_file_changes(users, file):
    stop = threading.Event()

    def edit() -> None:
        for number in range(1_000_000):
            change(file, "dora", lambda was, number=number: Entry(HASHES[("alice", "bob")[number % 2]]))
            if stop.is_set():
                return

    def log_in(number: int) -> list[bool]:
        name, passcode = [("alice", "right"), ("bob", "pässwörd"), ("alice", "wrong"), ("eve", "right")][number % 4]
        return [is_let_in(users, name, passcode) for _ in range(20)]

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(log_in, range(20)))
    finally:
        stop.set()
        editor.join(PATIENCE)
    assert answers == [[number % 4 < 2] * 20 for number in range(20)]
    assert users.warning == ""


def test_who_comes_while_too_many_are_verified_is_sent_away_for_now(file):
    pool = Pool(1, patience=0.05)
    go, holds = threading.Event(), threading.Event()

    def hold() -> None:
        holds.set()
        go.wait(PATIENCE)

    holder = pool._executor.submit(hold)
    try:
        assert holds.wait(PATIENCE)
        with pytest.raises(Unavailable, match="too many"):
            Passwords(file, pool).verify(claim("alice", "right"))
    finally:
        go.set()
        holder.result(PATIENCE)
        pool.close()


def progress(is_over) -> float:
    """How many steps of other work are done in a second, until it is over."""
    steps, begin = 0, time.perf_counter()
    while not is_over():
        sum(range(500))
        steps += 1
    return steps / (time.perf_counter() - begin)


def test_a_hundred_logins_at_once_leave_others_most_of_their_speed(tmp_path):
    path = tmp_path / "users"
    costly = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1)
    path.write_text(f"alice:{costly.hash('right')}\n")
    pool = Pool(patience=PATIENCE)
    users = Passwords(path, pool)
    until = time.perf_counter() + 0.3
    try:
        alone = progress(lambda: time.perf_counter() > until)
        with ThreadPoolExecutor(100) as threads:
            logins = [threads.submit(is_let_in, users, "alice", ("right", "wrong")[n % 2]) for n in range(100)]
            meanwhile = progress(lambda: all(login.done() for login in logins[::-10]))
            answers = [login.result(PATIENCE) for login in logins]
    finally:
        pool.close()
    assert answers == [True, False] * 50
    assert meanwhile > alone / 5


# -- names alone


def test_user_names_are_those_of_the_list_to_the_letter():
    users = Usernames(["ct1", "mr 1"], ["modality"])
    for name in ("ct1", "mr 1"):
        assert users.verify(Claim(Form.USERNAME, name.encode())) == User(name, frozenset(("modality",)))
    for name in (b"", b"CT1", b"ct1 ", b"ct1\0", b"ct*", b"\xff", b"x" * 65_535):
        with pytest.raises(NotVerified, match="is not among the users|is not UTF-8") as caught:
            users.verify(Claim(Form.USERNAME, name))
        assert len(caught.value.why) < 350


def test_no_bytes_are_taken_for_a_name_that_only_looks_like_them_in_a_log():
    users = Usernames([r"ct\xff"])
    assert users.verify(Claim(Form.USERNAME, rb"ct\xff")) == User(r"ct\xff")
    with pytest.raises(NotVerified):
        users.verify(Claim(Form.USERNAME, b"ct\xff"))
