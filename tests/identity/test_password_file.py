"""The file of users: what is a line of it, and that a change loses nothing, however it is interrupted or raced."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scpd.errors import SettingError
from scpd.identity.password_file import HASHER, Entry, change, hashed, is_name, parse, parse_role, read

PATIENCE = 30.0
# As weak as argon2 allows: what it protects here is nothing.
HASH = "$argon2id$v=19$m=8,t=1,p=1$shDOBwcuOu2QvDgSp2baXw$PAnMGTJSYLTNJ30cB0JDzQ"
OTHER = "$argon2id$v=19$m=8,t=1,p=1$bThIyMqJf2wPZmXN675cqQ$0LVyv9F5lA0PjsAMSAwYRw"
CONTENT = f"""\
# Made by hand; keep.
alice:{HASH}:doctor,nurse

bob:{OTHER}
  \t
# the modalities: all of them
ct1:{HASH}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "users"
    path.write_text(CONTENT)
    path.chmod(0o640)
    return path


def put(entry: Entry | None):
    return lambda was: entry


def in_a_process(work, *args) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=work, args=args, daemon=True)
    process.start()
    return process


# -- lines


def test_a_line_is_a_user_a_hash_and_roles_and_other_lines_say_nothing():
    assert parse(CONTENT) == {
        "alice": Entry(HASH, frozenset(("doctor", "nurse"))),
        "bob": Entry(OTHER),
        "ct1": Entry(HASH),
    }


@pytest.mark.parametrize("text", ["", "\n", "#", "# a:b\n\n#c:d", "   \n\t\n"])
def test_a_file_may_hold_nobody(text):
    assert parse(text) == {}


def test_line_ends_of_another_system_and_a_missing_last_one_are_no_matter():
    assert parse(CONTENT.replace("\n", "\r\n")) == parse(CONTENT) == parse(CONTENT.removesuffix("\n"))


S = "S3CRET"


@pytest.mark.parametrize(
    "line",
    [
        *(S, f"{S}:", f":{HASH}", f"{S}:{S}", f"{S}:{HASH[:-40]}", f"{S}:{HASH} ", f" {S}:{HASH}", f"{S} :{HASH}"),
        *(f" # {S}:{HASH}", f"{S}\t:{HASH}", f"{S}\0:{HASH}", f"{'S' * 257}:{HASH}", f"{S}\u2028:{HASH}"),
        *(f"{S}:{HASH.replace('id', 'i')}", f"{S}:{HASH.replace('v=19', 'v=16')}", f"{S}:{HASH}\0"),
        *(f"{S}:$2b$12$abcdefghijklmnopqrstuv", f"{S}:$6$salt${S}", f"{S}:x:0:0:root:/root:/bin/sh"),
        *(f"{S}:{HASH}\u2028", f"{S}:{HASH}${S}", f"{S}:{HASH.replace('m=8', 'm=٣')}", "\ud800:x"),
    ],
)
def test_a_line_that_is_none_is_told_by_its_number_and_never_by_what_stands_there(line):
    with pytest.raises(ValueError, match=r"^line 3 .*; .*scpd passwd") as caught:
        parse(f"# one\n\n{line}\n")
    assert S not in str(caught.value)
    assert HASH not in str(caught.value)


@pytest.mark.parametrize("roles", ["a b", "a,,b", ",", "a:b", "x" * 65, "a\0", "a,b "])
def test_a_role_is_bounded_and_has_no_spaces(roles):
    with pytest.raises(ValueError, match=r"^line 1: what stands after the hash are no roles; write role,role$"):
        parse(f"alice:{HASH}:{roles}")


def test_a_role_that_is_none_is_not_told_either():
    with pytest.raises(ValueError, match=r"^line 1: ") as caught:
        parse(f"alice:{HASH}:{S} {S}")
    assert S not in str(caught.value)


def test_a_user_stands_once():
    with pytest.raises(ValueError, match=r"^line 3 repeats the user of a line before it; keep one of the two$"):
        parse(f"alice:{HASH}\nbob:{HASH}\nalice:{OTHER}\n")


def of(memory: object, passes: object, lanes: object) -> str:
    return f"alice:$argon2id$v=19$m={memory},t={passes},p={lanes}${'A' * 22}${'A' * 43}"


@pytest.mark.parametrize(
    ("memory", "passes"), [(4 * 1024**2, 2), (1024**2 + 1, 1), (8, 101), (999_999_999, 999_999_999)]
)
def test_a_hash_that_would_take_the_machine_is_refused_at_the_start(memory, passes):
    with pytest.raises(ValueError, match=r"^line 1 holds a hash that takes too long to compare; write it anew"):
        parse(of(memory, passes, 1))


def test_the_hashes_of_other_programs_with_usual_parameters_are_taken():
    for memory, passes, lanes in ((19456, 2, 1), (65536, 3, 4), (47104, 1, 1), (1024**2, 1, 4)):
        assert parse(of(memory, passes, lanes))


def test_a_hash_of_a_minute_is_refused_at_the_start():
    with pytest.raises(ValueError, match="takes too long"):
        parse(of(1024**2, 100, 1))


def test_a_hash_of_a_thousand_threads_is_refused_at_the_start():
    with pytest.raises(ValueError, match="line 1"):
        parse(of(1024**2, 1, 999))


@pytest.mark.parametrize(
    "line",
    [
        *(of(8, 1, 0), of(8, 0, 1), of(1, 1, 1), of(8, 1, 2), of("08", 1, 1)),
        *(f"alice:{HASH[:-1]}", f"alice:{HASH.replace('$argon2id$v=19$m=8,t=1,p=1$', '$argon2id$v=19$m=8,t=1,p=1$_')}"),
    ],
)
def test_a_hash_that_nothing_can_be_compared_with_is_refused_at_the_start(line):
    with pytest.raises(ValueError, match="line 1"):
        parse(line)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        *(
            (name, True)
            for name in ("a", "alice", "Ålice", "医生", "a#", "a b", "x" * 256, "a@B.EXAMPLE", "dicom/ct1", "-x")
        ),
        *((name, False) for name in ("", " ", "#a", "a:b", "a\nb", "a\0", "\x1b[0m", "\x85a", " a", "a ", "x" * 257)),
        *((name, False) for name in ("a\u2028b", "\u00a0a", "a\u2029", "a\t")),
    ],
)
def test_what_a_user_may_be_called(name, valid):
    assert is_name(name) is valid


@given(st.text(max_size=20), st.sets(st.text(max_size=5), max_size=3))
def test_whoever_may_be_called_so_is_read_back(name, roles):
    assumed = [role for role in roles if _is_role(role)]
    assume(is_name(name) and name != "last" and _is_unicode(name + "".join(assumed)))
    text = f"{name}:{HASH}:{','.join(assumed)}\nlast:{OTHER}\n"
    assert parse(text) == {name: Entry(HASH, frozenset(assumed)), "last": Entry(OTHER)}


def _is_role(role: str) -> bool:
    try:
        return parse_role(role) == role
    except ValueError:
        return False


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" for one in text)


def test_half_a_character_is_no_name_and_no_role():
    assert not is_name("\udcff")
    with pytest.raises(ValueError):
        parse_role("\udcff")


def test_a_hash_of_ours_is_read_and_fits():
    entry = parse(f"alice:{hashed('påss')}")["alice"]
    assert HASHER.verify(entry.hash, "påss".encode())


# -- reading


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, r"cannot be read \(No such file or directory\); write it with scpd passwd"),
        (lambda path: path.mkdir(), r"cannot be read \(Is a directory\); write it with scpd passwd"),
        (lambda path: path.write_bytes(b"\xff\xfe"), r"is not UTF-8 text; write it with scpd passwd"),
        (lambda path: path.write_text("x"), r"users: line 1 is not user:hash|line 1 holds no argon2id hash"),
        (lambda path: path.write_bytes(b"#" * (16 * 1024**2 + 1)), r"is longer than 16777216 bytes; name"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_setting_error_of_the_key_file(tmp_path, make, what):
    make(tmp_path / "users")
    with pytest.raises(SettingError, match=what) as caught:
        read(tmp_path / "users")
    assert caught.value.key == "file"
    assert ";" in caught.value.what


def test_a_byte_order_mark_is_no_part_of_a_name(file):
    file.write_bytes(b"\xef\xbb\xbf" + f"alice:{HASH}\n".encode())
    assert list(read(file)) == ["alice"]


# -- changing


def test_a_new_file_is_readable_for_its_group_and_nobody_else(tmp_path):
    before = os.umask(0)
    try:
        assert change(tmp_path / "users", "alice", put(Entry(HASH))) is None
    finally:
        os.umask(before)
    assert (tmp_path / "users").read_text() == f"alice:{HASH}\n"
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == 0o640


def test_a_changed_user_stays_in_its_place_and_all_else_as_it_was(file):
    was = change(file, "bob", lambda was: Entry(HASH, was.roles | {"z", "a"}))
    assert was == Entry(OTHER)
    assert file.read_text() == CONTENT.replace(f"bob:{OTHER}", f"bob:{HASH}:a,z")


def test_a_new_user_comes_last(file):
    assert change(file, "dora", put(Entry(OTHER, frozenset(("r",))))) is None
    assert file.read_text() == f"{CONTENT}dora:{OTHER}:r\n"


def test_a_new_user_has_a_line_of_its_own_where_the_last_one_had_no_end(file):
    file.write_text(CONTENT.removesuffix("\n"))
    change(file, "dora", put(Entry(OTHER)))
    assert file.read_text() == f"{CONTENT}dora:{OTHER}\n"


def test_a_removed_user_takes_its_line_with_it_and_nothing_else(file):
    assert change(file, "bob", put(None)) == Entry(OTHER)
    assert file.read_text() == CONTENT.replace(f"bob:{OTHER}\n", "")


def test_removing_nobody_changes_nothing(file):
    assert change(file, "eve", put(None)) is None
    assert file.read_text() == CONTENT


def test_removing_somebody_makes_no_file(tmp_path):
    change(tmp_path / "users", "eve", put(None))
    assert not (tmp_path / "users").exists()


def test_the_line_ends_of_other_lines_stay(file):
    file.write_bytes(CONTENT.replace("\n", "\r\n").encode())
    change(file, "dora", put(Entry(OTHER)))
    assert file.read_bytes().startswith(CONTENT.replace("\n", "\r\n").encode())


def test_a_file_that_could_be_read_still_can_be_after_a_change(file):
    file.write_bytes(f"# old\rnew\nalice:{HASH}\n".encode())
    assert list(read(file)) == ["alice"]
    change(file, "dora", put(Entry(OTHER)))
    assert list(read(file)) == ["alice", "dora"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_the_rights_and_the_owner_stay(file, mode):
    file.chmod(mode)
    owner = (1234, 5678) if os.getuid() == 0 else (os.getuid(), os.getgid())
    os.chown(file, *owner)
    change(file, "dora", put(Entry(OTHER)))
    found = file.stat()
    assert (stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)) == (mode, owner)


def test_a_symbolic_link_goes_on_to_point_where_it_points(file, tmp_path):
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "users"
    link.symlink_to("../users")
    change(link, "dora", put(Entry(OTHER)))
    assert link.is_symlink()
    assert file.read_text() == f"{CONTENT}dora:{OTHER}\n"
    assert os.listdir(link.parent) == ["users"]


def test_a_link_to_what_is_not_there_yet_makes_it(tmp_path):
    (tmp_path / "link").symlink_to("users")
    change(tmp_path / "link", "alice", put(Entry(HASH)))
    assert (tmp_path / "link").is_symlink()
    assert list(read(tmp_path / "users")) == ["alice"]


@pytest.mark.parametrize(
    "content",
    [b"ae_title: SCPD\n", b"\x7fELF\x02\x01\x01\0\0", b"root:x:0:0:root:/root:/bin/sh\n", b"\xff", b"%PDF-1.7\n"],
)
def test_a_file_that_is_something_else_is_never_touched(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    before = path.stat()
    with pytest.raises(SettingError):
        change(path, "alice", put(Entry(HASH)))
    after = path.stat()
    assert path.read_bytes() == content
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(tmp_path) == ["other"]


def test_who_fails_in_between_leaves_everything_as_it_was_and_the_next_may_go_on(file):
    def fails(was):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change(file, "bob", fails)
    assert file.read_text() == CONTENT
    change(file, "bob", put(Entry(HASH)))
    assert os.listdir(file.parent) == ["users"]


def _full_disk(file: Path, told: multiprocessing.SimpleQueue) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    try:
        change(file, "dora", put(Entry(OTHER)))
    except OSError as error:
        told.put(error.errno)
    else:
        told.put(0)


def _nobody(file: Path, told: multiprocessing.SimpleQueue) -> None:
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        change(file, "dora", put(Entry(OTHER)))
    except OSError as error:
        told.put(error.errno)
    else:
        told.put(0)


@pytest.mark.parametrize("what", [_full_disk, _nobody])
def test_where_nothing_can_be_written_nothing_is_lost_and_nothing_left_over(what):
    folder = Path(tempfile.mkdtemp(prefix="scpd-passwords-"))
    try:
        (folder / "users").write_text(CONTENT)
        folder.chmod(0o555 if what is _nobody else 0o755)
        told = multiprocessing.get_context("fork").SimpleQueue()
        process = in_a_process(what, folder / "users", told)
        process.join(PATIENCE)
        assert process.exitcode == 0
        assert told.get() != 0
        assert (folder / "users").read_text() == CONTENT
        assert os.listdir(folder) == ["users"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(file):
    stop, seen, wrong = threading.Event(), set(), []
    states = [f"{CONTENT}dora:{one}\n" for one in (HASH, OTHER)]
    change(file, "dora", put(Entry(HASH)))

    def look() -> None:
        while not stop.is_set():
            text = file.read_text()
            seen.add(text)
            if text not in states:
                wrong.append(text)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(100):
        change(file, "dora", put(Entry((OTHER, HASH)[number % 2])))
    stop.set()
    reader.join(PATIENCE)
    assert wrong == []
    assert seen == set(states)


def _add(file: Path, letter: str, barrier) -> None:
    barrier.wait(PATIENCE)
    for number in range(25):
        change(file, f"{letter}{number}", put(Entry(HASH)))


def test_two_writers_in_two_processes_lose_nothing_of_each_other(file):
    barrier = multiprocessing.get_context("fork").Barrier(2)
    writers = [in_a_process(_add, file, letter, barrier) for letter in "xy"]
    for writer in writers:
        writer.join(PATIENCE)
        assert writer.exitcode == 0
    added = {f"{letter}{number}" for letter in "xy" for number in range(25)}
    assert set(read(file)) == {"alice", "bob", "ct1"} | added
    assert os.listdir(file.parent) == ["users"]


def test_a_writer_that_comes_by_a_link_waits_for_the_others_too(file, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "users").symlink_to(file)
    second = threading.Thread(target=change, args=(tmp_path / "etc" / "users", "eve", put(Entry(HASH))))

    def slowly(was):
        second.start()
        second.join(0.5)  # it is done by then, unless it waits for us
        return Entry(HASH)

    change(file, "dora", slowly)
    second.join(PATIENCE)
    assert {"dora", "eve"} <= set(read(file))
