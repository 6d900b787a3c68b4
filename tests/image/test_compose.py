"""The compose example: what it says fits together, and its hand-over reaches a real Orthanc."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
import yaml
from pydicom.data import get_testdata_file

from scpd.config import load
from scpd.config.values import parse_duration

FOLDER = Path(__file__).parents[2] / "config/compose"
FILE = get_testdata_file("CT_small.dcm")
PATIENCE = 60.0
PASSWORD = "heron-62-kazoo"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.fixture
def settings() -> dict:
    """The example's configuration of scpd, as data, all values as text: to PyYAML the key "on" is otherwise a boolean."""
    return yaml.load((FOLDER / "scpd.yaml").read_text(), yaml.BaseLoader)


# -- it fits together


def test_its_configuration_loads(tmp_path, settings):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    settings["admin"]["token"] = f"file:{token}"
    path = tmp_path / "scpd.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert load(path, {}).servers[0].hooks[0].name == "orthanc"


def test_the_container_has_longer_to_stop_than_scpd_takes(compose, settings):
    grace = compose["services"]["scpd"]["stop_grace_period"]
    assert parse_duration(grace) > parse_duration(settings["timeouts"]["shutdown"])


def test_every_file_that_is_mounted_is_there_but_for_secrets(compose):
    mounted = [one.split(":") for service in compose["services"].values() for one in service["volumes"]]
    files = {source for source, *_ in mounted if source.startswith("./")}
    assert files == {"./scpd.yaml", "./hand_over.py", "./orthanc.json"}
    assert all((FOLDER / name).is_file() for name in files)
    assert {source for source, *_ in mounted} - files == set(compose["volumes"])


def test_what_scpd_names_is_mounted_where_it_looks(compose, settings):
    scpd = compose["services"]["scpd"]
    places = {one.split(":")[1] for one in scpd["volumes"]}
    assert settings["hooks"][0]["command"][1] in places
    assert any(settings["storage"]["directory"].startswith(f"{place}/") for place in places)
    (secret,) = scpd["secrets"]
    assert settings["admin"]["token"] == f"file:/run/secrets/{secret['target']}"
    assert secret["uid"] == "10001", "the user of the image"
    assert secret["mode"] == 0o400


def test_it_runs_with_no_right_and_nothing_to_write_to(compose):
    scpd = compose["services"]["scpd"]
    assert scpd["read_only"] is True
    assert scpd["cap_drop"] == ["ALL"]
    assert scpd["security_opt"] == ["no-new-privileges:true"]
    assert "tmpfs" not in scpd
    assert scpd["healthcheck"]["test"] == ["CMD", "scpd", "health"]


# -- it hands over


class Orthanc:
    """A real one on loopback, with the example's configuration on other ports."""

    def __init__(self, program: str, folder: Path, dicom: int, http: int) -> None:
        self.dicom, self._http = dicom, http
        configuration = json.loads((FOLDER / "orthanc.json").read_text())
        configuration |= {"StorageDirectory": str(folder / "db"), "DicomPort": dicom, "HttpPort": http}
        (folder / "etc").mkdir()
        (folder / "etc/orthanc.json").write_text(json.dumps(configuration))
        (folder / "etc/users.json").write_text(json.dumps({"RegisteredUsers": {"admin": PASSWORD}}))
        self._log = (folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen(
            [program, str(folder / "etc")], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def ask(self, path: str) -> object:
        """What its REST API says."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._http}{path}")
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def wait_for(self, path: str) -> object:
        """The same, once there is something; it must live as long."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            with suppress(OSError):
                if found := self.ask(path):
                    return found
            select.select([], [], [], 0.1)
        raise AssertionError(f"nothing at {path}")

    def clean_up(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


def two_free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture
def orthanc(peer, tmp_path):
    folder = tmp_path / "orthanc"
    folder.mkdir()
    one = Orthanc(peer("Orthanc"), folder, *two_free_ports())
    yield one
    one.clean_up()


@pytest.fixture
def sent_on(orthanc, peer):
    """Store an instance at a port; it has to come to Orthanc, as it was and from scpd."""

    def send(port: int) -> None:
        arguments = ["-aet", "CT1", "-aec", "SCPD", "127.0.0.1", str(port), FILE]
        sent = subprocess.run([peer("storescu"), *arguments], capture_output=True, timeout=PATIENCE, check=False)
        assert sent.returncode == 0, sent.stderr
        (number,) = orthanc.wait_for("/instances")
        original = pydicom.dcmread(FILE)
        tags = orthanc.ask(f"/instances/{number}/simplified-tags")
        assert tags["SOPInstanceUID"] == original.SOPInstanceUID
        assert tags["PatientID"] == original.PatientID
        assert orthanc.ask(f"/instances/{number}/metadata?expand")["RemoteAET"] == "SCPD"

    return send


@pytest.fixture
def nearby(settings, orthanc) -> dict:
    """The example's configuration of scpd, for this Orthanc and for somebody who waits."""
    (hook,) = settings["hooks"]
    assert hook["command"][-1] == "orthanc:4242"
    hook["command"][-1] = f"127.0.0.1:{orthanc.dicom}"
    hook["quiet"] = "500ms"
    settings["storage"]["reserve"] = "0"
    orthanc.wait_for("/system")
    return settings


@pytest.mark.image
def test_a_study_that_was_received_is_handed_to_orthanc(daemon, nearby, sent_on):
    """Without containers: here the hook finds Python and scpd in other places."""
    (hook,) = nearby["hooks"]
    assert hook["command"][:2] == ["/usr/bin/python3", "/etc/scpd/hand_over.py"]
    hook["command"][:2] = [sys.executable, str(FOLDER / "hand_over.py")]
    path = f"{Path(sys.executable).parent}:{Path(shutil.which('env')).parent}"
    one = daemon(contexts=nearby["contexts"], hooks=nearby["hooks"], env={"PATH": path})
    sent_on(one.port)
    assert one.stop() == 0


def test_the_image_hands_it_over_too(container, nearby, sent_on, free_port, user, tmp_path):
    """As compose.yaml has it: files mounted, the token a secret for its user alone, nothing else to write to."""
    nearby["bind"] = f"127.0.0.1:{free_port}"
    nearby["admin"]["bind"] = f"127.0.0.1:{two_free_ports()[0]}"
    configuration = tmp_path / "scpd.yaml"
    configuration.write_text(yaml.safe_dump(nearby))
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o400)
    os.chown(token, int(user), 0)
    mounts = {
        "/etc/scpd/scpd.yaml": configuration,
        "/etc/scpd/hand_over.py": FOLDER / "hand_over.py",
        "/run/secrets/admin_token": token,
    }
    one = container(mounts=mounts, own_network=False)
    sent_on(free_port)
    health = one.execute(*one.image.health)
    assert health.returncode == 0, health.stdout
    assert "admin at 127.0.0.1" in health.stdout
    assert one.stop() == 0
