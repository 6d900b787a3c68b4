"""``scpd queue``: what waits and what was set aside, as a person sees it, and a say in what becomes of it."""

from __future__ import annotations

import threading

import pytest

from scpd.cli.main import main
from scpd.forward import studies
from scpd.forward.queue import Queue
from scpd.services.commitment.transactions import NAME

PATIENCE = 20.0
FINE, FAILED, USAGE, BAD_CONFIGURATION = 0, 1, 2, 78


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "scpd.yaml"
    path.write_text(
        f"storage: {{directory: {tmp_path / 'store'}}}\n"
        "hooks:\n"
        "  - {kind: exec, name: one, on: instance, command: [/bin/true]}\n"
        "  - {kind: exec, name: two, on: study, command: [/bin/true]}\n"
    )
    return path


@pytest.fixture
def queue(tmp_path):
    """The queue as the daemon has it open: jobs 1 and 2 of hook one and 3 of two are set aside, 4 of one waits."""
    queue = Queue(tmp_path / "store" / ".queue", studies.SCHEMA)
    for number, target in enumerate(("one", "one", "two", "one"), 1):
        payload = {"event": "instance", "sop_instance_uid": f"1.2.{number}", "path": "/store/DOE^JANE"}
        queue.settle([target], queue.put([(target, payload)]), holds=True)
        if number < 4:
            queue.database.write(lambda connection: None)
            queue.set_aside(queue.take(target), f"exit status {number}")
    queue.database.write(lambda connection: None)
    yield queue
    queue.close(PATIENCE)


@pytest.fixture
def command(config, capsys):
    """Run it here: (exit status, lines of standard output, standard error)."""

    def run(*arguments: str):
        try:
            status = main(["queue", str(config), *arguments])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return run


def test_what_was_set_aside_is_listed_with_its_reason_and_no_path(command, queue):
    status, out, _ = command()
    assert status == FINE
    assert out[0].startswith("one: 1 waiting, 2 set aside, the oldest ")
    assert out[1].startswith("two: 0 waiting, 1 set aside, the oldest ")
    assert [line.split("  ")[0] for line in out[2:]] == ["1", "2", "3"]
    assert out[2].startswith("1  one  set aside  instance 1.2.1  ")
    assert out[2].endswith("  1 try  exit status 1")
    assert "DOE" not in "".join(out)
    assert command("list")[1] == out


def test_a_hook_or_numbers_choose(command, queue):
    assert [line.split("  ")[0] for line in command("list", "--hook", "two")[1][1:]] == ["3"]
    assert [line.split("  ")[0] for line in command("list", "4", "1")[1][2:]] == ["1", "4"]


def test_retry_has_them_tried_at_once_and_as_often_as_new_ones_while_the_daemon_runs(command, queue, monkeypatch):
    monkeypatch.setattr("scpd.forward.queue._LOOKS", 0.1)
    found = []

    def work():
        while not found:
            found.extend(filter(None, [queue.take("two")]))

    waits = threading.Thread(target=work, daemon=True)
    waits.start()
    assert command("retry", "--hook", "two") == (FINE, ["1 to be tried again"], "")
    waits.join(PATIENCE)
    assert [(job.id, job.attempts) for job in found] == [(3, 0)]
    assert command("retry") == (FINE, ["2 to be tried again"], "")
    assert queue.standings()["one"].waiting == 3


def test_drop_forgets_and_wants_to_be_told_what(command, queue):
    status, _, err = command("drop")
    assert status == USAGE
    assert "drop needs an ID or --hook" in err
    assert command("drop", "1", "99") == (FINE, ["1 dropped"], "")
    assert command("drop", "--hook", "one") == (FINE, ["1 dropped"], "")
    standings = queue.standings()
    assert (standings["one"].waiting, standings["one"].set_aside, standings["two"].set_aside) == (1, 0, 1)
    assert command("drop", "4") == (FINE, ["1 dropped"], "")


def test_what_is_held_is_nobodys_yet(command, queue):
    (number,) = queue.put([("one", {})])
    assert command("drop", str(number)) == (FINE, ["0 dropped"], "")
    assert command("retry", str(number)) == (FINE, ["0 to be tried again"], "")


def test_storage_commitment_without_hooks_has_a_queue_too(command, config, queue):
    config.write_text(config.read_text().partition("hooks:")[0] + "contexts: [storage_commitment]\n")
    about = {"event": "commitment", "transaction_uid": "1.2.9", "calling": "DOE^JANE"}
    queue.settle([NAME], queue.put([(NAME, about)]), holds=True)
    queue.database.write(lambda connection: None)
    queue.set_aside(queue.take(NAME), "the peer has left")
    queue.database.write(lambda connection: None)
    status, out, _ = command("--hook", NAME)
    assert status == FINE
    assert out[0].startswith("storage commitment: 0 waiting, 1 set aside, the oldest ")
    assert out[1].startswith("5  storage commitment  set aside  commitment 1.2.9  ")
    assert out[1].endswith("  1 try  the peer has left")
    assert len(out) == 2
    assert command("retry", "--hook", NAME) == (FINE, ["1 to be tried again"], "")


def test_without_a_queue_it_says_so(command, config):
    status, _, err = command()
    assert (status, "nothing was handed over yet" in err) == (FAILED, True)
    config.write_text("ae_title: A\n")
    status, _, err = command()
    assert (status, "no hooks and no storage commitment" in err) == (FAILED, True)


def test_a_queue_that_is_none_is_told_in_one_line(command, tmp_path):
    (tmp_path / "store" / ".queue").mkdir(parents=True)
    (tmp_path / "store" / ".queue" / "queue.db").write_bytes(b"x" * 5000)
    status, _, err = command()
    assert status == FAILED
    assert "cannot be used: file is not a database" in err
    assert err.count("\n") == 1


def test_a_faulty_configuration_is_78(command, config):
    config.write_text("x: 1\n")
    assert command()[0] == BAD_CONFIGURATION
