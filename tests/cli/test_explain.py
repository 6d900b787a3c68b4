"""``scpd explain`` says what a real daemon does, in the words of its log."""

from __future__ import annotations

import pytest
import yaml

from scpd.cli import main as cli
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import RoleSelection

VERIFICATION, IMPLICIT, EXPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CT, MR, US = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "6.1"))
SETTINGS = {
    "called_ae_title": "check",
    "contexts": ["verification", {"sop_classes": [CT, MR], "transfer_syntaxes": "ImplicitVRLittleEndian"}],
    "access": [
        {"deny": {"calling": "CT13"}},
        {"allow": {"calling": "CT*", "address": "127.0.0.0/8", "services": "verification", "sop_classes": CT}},
        {"deny": "all"},
    ],
}


@pytest.fixture(scope="module")
def one(shared_daemon):
    return shared_daemon(**SETTINGS)


@pytest.fixture
def explain(one, capsys):
    def run(*arguments: str, address: str = "127.0.0.1") -> tuple[int, list[str]]:
        status = cli.main(["explain", str(one.config), "--address", address, *arguments])
        return status, capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize(("calling", "called"), [("CT13", "SCPD"), ("MR1", "SCPD"), ("CT1", "OTHER"), ("CT1", "SCPD")])
def test_it_says_of_an_association_what_the_daemon_does(one, explain, connect, calling, called):
    before = len(one.logs)
    answer = connect(one.port).associate(calling=calling, called=called)
    status, lines = explain("--calling", calling, "--called", called)
    if isinstance(answer, AssociateAC):
        assert status == 0
        assert lines[1].startswith("let in by access[1] (")
        return
    assert isinstance(answer, AssociateRJ)
    assert status == 1
    (told,) = one.wait_for_logs(lambda line: line["event"] == "association rejected" and line in one.logs[before:], 1)
    assert f"rejected {told['rejection']}" in lines
    assert f"why: {told['why']}; decided by {told['key']} ({told['where']})" in lines


def test_it_says_of_each_context_what_the_daemon_does(one, explain, connect):
    proposed = {1: (CT, (EXPLICIT, IMPLICIT)), 3: (CT, (EXPLICIT,)), 5: (MR, (IMPLICIT,)), 7: (US, (IMPLICIT,))}
    answer = connect(one.port).associate(proposed, calling="CT1")
    status, lines = explain(
        "--calling=CT1",
        *("--context=CTImageStorage:ExplicitVRLittleEndian,ImplicitVRLittleEndian", f"--context={CT}:{EXPLICIT}"),
        *("--context=MRImageStorage:ImplicitVRLittleEndian", f"--context={US}:{IMPLICIT}"),
    )
    assert status == 0
    assert [context.result for context in answer.presentation_contexts] == [0, 4, 1, 3]
    ct, none, mr, us = lines[-4:]
    assert ct.startswith(
        "context 1 CTImageStorage: accepted in ImplicitVRLittleEndian, the peer as SCU; see contexts[1] ("
    )
    assert none.startswith("context 3 CTImageStorage: rejected, none of its transfer syntaxes is supported: ")
    assert mr.startswith(
        "context 5 MRImageStorage: rejected, MRImageStorage is not allowed to this peer; see access[1] ("
    )
    assert us == "context 7 UltrasoundImageStorage: rejected, abstract syntax not supported"


def test_an_address_certificate_and_user_count(tmp_path, capsys):
    config = tmp_path / "scpd.yaml"
    rules = [
        {"allow": {"address": "10.0.0.0/8", "certificate": "CN=ct1*"}},
        {"allow": {"users": "alice", "roles": "doctor", "may": "read"}},
        {"deny": "all"},
    ]
    config.write_text(yaml.safe_dump({"access": rules}))

    def ask(*arguments):
        status = cli.main(["explain", str(config), "--calling", "X", *arguments])
        return status, capsys.readouterr().out

    assert ask("--address", "10.1.1.1", "--certificate", "CN=ct1.example")[0] == 0
    assert "not let in" in ask("--address", "10.1.1.1")[1]
    status, out = ask(
        "--address", "::1", "--user", "alice", "--user-roles", "nurse,doctor", "--context", "CTImageStorage"
    )
    assert status == 0
    assert "this peer may not write; see access[1]" in out
    assert ask("--address", "::1", "--user", "bob")[0] == 1


# -- an archive

FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
COMMITMENT = "1.2.840.10008.1.20.1"
READ = {"calling": "WS*", "services": ["query_retrieve", "storage"], "may": "read"}
ARCHIVE = {
    "contexts": ["verification", "storage", "query_retrieve", "storage_commitment"],
    "index": {},
    "peers": {"WS": {"address": "127.0.0.1:1", "ae_title": "WS"}},
    "access": [
        {"allow": READ},
        {"allow": {"calling": "ASK", "services": "query_retrieve"}},
        {"allow": {"calling": "CT*", "services": ["storage", "storage_commitment"], "may": "write"}},
        {"deny": "all"},
    ],
}


@pytest.fixture(scope="module")
def archive(shared_daemon):
    return shared_daemon(**ARCHIVE)


@pytest.mark.parametrize("calling", ["WS1", "ASK", "CT1"])
@pytest.mark.parametrize("roles", [None, (True, False), (False, True), (True, True)])
def test_it_says_of_an_archive_what_the_daemon_does(archive, connect, capsys, calling, roles):
    """Each class of it, with any roles of the storage class, by what a rule lets the peer do."""
    classes = (FIND, MOVE, GET, COMMITMENT, CT)
    items = (RoleSelection(CT, *roles),) if roles else ()
    answer = connect(archive.port).associate(
        {2 * number + 1: (uid, (IMPLICIT,)) for number, uid in enumerate(classes)}, calling=calling, roles=items
    )
    words = [word for word, has in zip(("scu", "scp"), roles or (), strict=False) if has]
    arguments = [f"--context={uid}:{IMPLICIT}" for uid in classes] + (
        [f"--role={CT}:{','.join(words)}"] if roles else []
    )
    assert cli.main(["explain", str(archive.config), "--address=127.0.0.1", f"--calling={calling}", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()[-len(classes) :]
    for context, line in zip(answer.presentation_contexts, lines, strict=True):
        assert (": accepted in ImplicitVRLittleEndian, the peer as " in line) == (context.result == 0), line
    if answer.presentation_contexts[-1].result == 0:
        held = answer.user_information.roles[0] if roles else RoleSelection(CT, True, False)
        held = " and ".join(word for word, has in (("SCU", held.scu_role), ("SCP", held.scp_role)) if has)
        assert f"the peer as {held}; see contexts[1]" in lines[-1]
        has_get = answer.presentation_contexts[2].result == 0
        assert ("a C-GET can send nothing in it" in lines[-1]) == (has_get and "SCP" not in held)


def test_what_a_peer_may_do_in_an_archive(archive, capsys):
    def ask(calling: str, *arguments: str) -> str:
        classes = [f"--context={uid}" for uid in (FIND, MOVE, GET, COMMITMENT, CT)]
        cli.main(["explain", str(archive.config), "--address=::1", f"--calling={calling}", *classes, *arguments])
        return "".join(
            "n" if ": rejected, " in line else "y"
            for line in capsys.readouterr().out.splitlines()
            if "context " in line
        )

    assert ask("WS1") == "yyynn"  # asks for what is held, and brings nothing
    assert ask("WS1", f"--role={CT}:scp") == "yyyny"  # and is brought it
    assert ask("ASK", f"--role={CT}:scp") == "yyynn"
    assert ask("CT1") == "nnnyy"  # storage commitment is for those who bring something
    assert ask("CT1", f"--role={CT}:scp") == "nnnyn"


def test_a_class_that_needs_an_index_is_told(tmp_path, capsys):
    config = tmp_path / "scpd.yaml"
    config.write_text(yaml.safe_dump({"contexts": ["verification", "query_retrieve"]}))
    cli.main(["explain", str(config), "--address=::1", "--calling=X", f"--context={FIND}"])
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("but scpd does not start: ")]
    assert "StudyRootQueryRetrieveInformationModelFind needs to know what is held; write index: {} as well" in told
    assert told.endswith(f"; see contexts ({config}:1)")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--calling", "X", "--address", "10.0.0"],
        ["--calling", "x" * 17, "--address", "::1"],
        ["--calling", "X", "--address", "::1", "--context", "CTImageStorag"],
        ["--calling", "X", "--address", "::1", "--role", "CTImageStorage"],
        ["--calling", "X", "--address", "::1", "--certificate", "ct1"],
        ["--calling", "X", "--address", "::1", "--server", "none"],
        ["--calling", "X", "--address", "::1", "--context", "storage"],
        ["--address", "::1"],
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(one, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", str(one.config), *arguments])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
