"""How a daemon begins: several servers in one process, the files it makes, and what a crash left behind."""

from __future__ import annotations

import stat

import pytest

from scpd.wire.pdu import AssociateAC, AssociateRJ

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
BOTH = {1: (CT, (IMPLICIT,)), 3: (MR, (IMPLICIT,))}


def accepted(answer) -> list[int]:
    assert isinstance(answer, AssociateAC)
    return [context.context_id for context in answer.presentation_contexts if context.result == 0]


def test_several_servers_each_with_a_title_contexts_limits_and_a_directory_of_its_own(
    daemon, connect, tmp_path, contexts, store
):
    one = daemon(
        called_ae_title="check",
        servers=[
            {
                "name": "ct",
                "ae_title": "CT_ARCHIVE",
                "bind": "127.0.0.1:0",
                "contexts": ["CTImageStorage"],
                "limits": {"associations": 1},
                "storage": {"directory": str(tmp_path / "ct"), "reserve": 0},
            },
            {
                "name": "mr",
                "ae_title": "MR_ARCHIVE",
                "bind": "127.0.0.1:0",
                "contexts": ["MRImageStorage"],
                "storage": {"directory": str(tmp_path / "mr"), "reserve": 0},
            },
        ],
    )
    ct, mr = one.port_of("ct"), one.port_of("mr")
    client = connect(ct)
    assert accepted(client.associate(BOTH, called="CT_ARCHIVE")) == [1]
    assert connect(ct).associate(BOTH, called="MR_ARCHIVE") == AssociateRJ(1, 1, 7)
    assert connect(ct).associate(BOTH, called="CT_ARCHIVE") == AssociateRJ(2, 3, 2)
    for _ in range(3):
        assert accepted(connect(mr).associate(BOTH, called="MR_ARCHIVE")) == [3]
    client.release()
    client = connect(ct)
    client.associate({3: (CT, (IMPLICIT,))}, called="CT_ARCHIVE")
    assert store(client, "1.2.3.4.5") == 0
    assert [path.name for path in (tmp_path / "ct").rglob("*.dcm")] == ["1.2.3.4.5.dcm"]
    assert list((tmp_path / "mr").rglob("*.dcm")) == []


@pytest.mark.parametrize("umask", ["000", "077", "777"])
def test_files_are_0640_and_directories_0750_whatever_the_umask_was(daemon, connect, contexts, store, umask):
    one = daemon(wrap=("sh", "-c", f'umask {umask}; exec "$@"', "sh"))
    client = connect(one.port)
    client.associate(contexts)
    assert store(client, "1.2.3.4.5") == 0
    (path,) = one.stored()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    folders = [one.directory, one.directory / ".incoming", *path.relative_to(one.directory).parents[:-1]]
    assert len(folders) == 4
    assert {oct(stat.S_IMODE((one.directory / folder).stat().st_mode)) for folder in folders} == {"0o750"}


def test_what_a_crash_left_is_removed_and_named(daemon, tmp_path):
    spool = tmp_path / "store" / ".incoming"
    spool.mkdir(parents=True)
    names = [f"0123abcd-{number}" for number in range(3)]
    for name in names:
        (spool / name).write_bytes(b"half an instance")
    one = daemon(storage={"directory": str(tmp_path / "store")})
    line = one.wait_for_log(lambda line: line["event"] == "leftovers of a crash removed")
    assert (line["count"], line["names"], line["level"]) == (3, names, "warning")
    assert one.spool() == []


def test_what_another_process_is_receiving_is_not_a_leftover(
    daemon, connect, contexts, begin_store, wait_for, tmp_path
):
    """Two daemons on one directory: the second must not sweep away what the first has in its hands."""
    directory = str(tmp_path / "store")
    first = daemon(storage={"directory": directory})
    client = connect(first.port)
    client.associate(contexts)
    go_on = begin_store(client, "1.2.3.4.5")
    wait_for(lambda: first.spool())
    second = daemon(storage={"directory": directory})
    assert not [line for line in second.logs if "leftovers" in line["event"]]
    go_on()
    assert client.receive_command().status == 0
    assert len(first.stored()) == 1


def test_less_space_than_is_to_be_left_alone_is_told_at_the_start_and_to_the_sender(daemon, connect, contexts, store):
    one = daemon(storage={"reserve": "100000GiB"})
    one.wait_for_log(lambda line: "storage.reserve" in line["event"])
    client = connect(one.port)
    client.associate(contexts)
    assert store(client, "1.2.3.4.5") == 0xA700
    assert one.stored() == one.spool() == []


def test_a_missing_directory_is_made_with_its_parents(daemon, tmp_path):
    one = daemon(storage={"directory": str(tmp_path / "a" / "b" / "c")})
    assert one.spool() == []
    assert one.stop() == 0


def test_listening_is_told_before_ready_and_only_when_it_is_true(daemon, connect):
    one = daemon()
    events = [line["event"] for line in one.logs]
    assert events.index("listening") < events.index("ready")
    assert isinstance(connect(one.port).associate({1: (VERIFICATION, (IMPLICIT,))}), AssociateAC)
