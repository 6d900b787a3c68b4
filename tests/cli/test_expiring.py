"""`scpd expiring` says what would go now, and deletes nothing."""

from __future__ import annotations

import json

import pytest
import yaml
from components.aged import DAY, NOW, Archive

from scpd.cli.main import main
from scpd.daemon import expiring as expiring_module
from scpd.forward import studies
from scpd.forward.queue import WAITING, Queue, encoded
from scpd.services.commitment import transactions


@pytest.fixture
def archive(tmp_path):
    """The store of a daemon that runs meanwhile."""
    folder = tmp_path / "store"
    (folder / ".index").mkdir(parents=True)
    made = Archive(f"sqlite:///{folder}/.index/index.db", folder)
    yield made
    made.close()


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(expiring_module.time, "time", lambda: NOW)

    def write(**more) -> str:
        given = {"ae_title": "ARCHIVE", "index": {}, "retention": [{"older_than": "90d"}], **more}
        given["storage"] = {"directory": str(tmp_path / "store")}
        path = tmp_path / "scpd.yaml"
        path.write_text(yaml.safe_dump(given))
        return str(path)

    return write


def test_what_would_go_and_what_is_kept_back(archive, config, capsys, tmp_path):
    archive.fill("1.2", 3)
    archive.fill("1.3", 2, age=95 * DAY)
    archive.fill("1.4", 2, age=DAY)
    queue = Queue(tmp_path / "queue", (*studies.SCHEMA, *transactions.SCHEMA))
    payload = encoded({"event": "study", "study_instance_uid": "1.3", "path": "x"})
    queue.database.write(lambda connection: queue.insert(connection, "hook", payload, WAITING))
    try:
        assert main(["expiring", config(queue={"directory": str(tmp_path / "queue")})]) == 0
        first, going, kept, last = capsys.readouterr().out.splitlines()
        assert first.startswith(f"ARCHIVE: {tmp_path}/store, ")
        assert "1.2  3 instances" in going
        assert "last 2023-08-06T22:13:20+00:00  by older_than: 90d (" in going
        assert "scpd.yaml:" in going
        assert "kept back" not in going
        assert kept.endswith("kept back: a hook has not succeeded yet")
        assert last.startswith("  1 studies would go: 3 instances, ")
        assert last.endswith("; 1 are kept back")
        assert len(archive.files()) == archive.counts()[3] == 7
        # Nothing is added to the daemon's queue for this.
        names = {name for (name,) in queue.database.read("SELECT name FROM sqlite_schema")}
        assert "jobs_by_study" not in names
    finally:
        queue.close(5)


def test_the_same_for_programs(archive, config, capsys):
    archive.fill("1.2", 3)
    size = sum(path.stat().st_size for path in archive.folder.rglob("*.dcm"))
    assert main(["expiring", config(), "--json", "--server", "ARCHIVE"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told.pop("where").rpartition(":")[0].endswith("scpd.yaml")
    assert told == {
        "servers": ["ARCHIVE"],
        "directory": str(archive.folder),
        "study": "1.2",
        "instances": 3,
        "bytes": size,
        "last": "2023-08-06T22:13:20+00:00",
        "rule": "older_than: 90d",
        "kept_back": None,
    }


def test_by_space_only_what_is_needed(archive, config, capsys, monkeypatch):
    for number in range(1, 6):
        archive.fill(f"1.{number}", 1, age=(100 - number) * DAY)
    size = next(archive.folder.rglob("*.dcm")).stat().st_size
    monkeypatch.setattr(expiring_module.place.Place, "free", lambda _: 10_000)
    rule = {"free_below": 10_000 + size + 1}
    assert main(["expiring", config(retention=[rule]), "--json"]) == 0
    assert [json.loads(line)["study"] for line in capsys.readouterr().out.splitlines()] == ["1.1", "1.2"]
    assert len(archive.files()) == 5


@pytest.mark.parametrize(
    ("arguments", "more", "why"),
    [
        (["--server", "OTHER"], {}, "no server is called OTHER; there are ARCHIVE"),
        ([], {"retention": []}, "no server has a retention: nothing is ever deleted"),
        ([], {}, "there is no index at /"),
    ],
)
def test_what_cannot_be_told_is_said(config, capsys, arguments, more, why):
    assert main(["expiring", config(**more), *arguments]) == 1
    assert why in capsys.readouterr().err


def test_looking_makes_nothing(config, tmp_path):
    main(["expiring", config()])
    assert not (tmp_path / "store").exists()
