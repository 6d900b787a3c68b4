"""What every fault needs: instances, the load that must not feel it, a look into the process, and file systems to break.

A fault that cannot be caused here is skipped by name; with the environment variable CI set that is a failure.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scpd.dimse import codec
from scpd.dimse.command import CEchoRQ, CStoreRQ
from scpd.dimse.fragment import command
from scpd.wire.pdu import AssociateAC, DataTF, PresentationDataValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
# No peer waits longer than this for the answer to a C-ECHO, whatever happens to others.
AT_ONCE = 1.0


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def possible() -> Callable[[object, str], None]:
    """Go on only where something can be done; ``what`` names it."""

    def check(can: object, what: str) -> None:
        if not can and os.environ.get("CI"):
            pytest.fail(f"{what} is not possible here, and in CI no fault may be missing")
        if not can:
            pytest.skip(f"{what} is not possible here")

    return check


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """Until a condition holds that nobody tells of: looked at again and again, with a deadline."""

    def wait(condition: Callable[[], object], what: str = "it", timeout: float = PATIENCE) -> None:
        nothing = select.poll()
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about in {timeout} s"
            nothing.poll(10)

    return wait


# -- instances and messages


@pytest.fixture(scope="session")
def contexts() -> dict[int, tuple[str, tuple[str, ...]]]:
    """Verification as 1, CT images as 3."""
    return {1: (VERIFICATION, (IMPLICIT,)), 3: (CT, (IMPLICIT,))}


def _element(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) & 1)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


@pytest.fixture(scope="session")
def data_set() -> Callable[..., bytes]:
    """A CT image in Implicit VR Little Endian, with ``pixels`` bytes of pixel data that no other instance has."""

    def build(uid: str, pixels: int = 1000, study: str = "1.2.3") -> bytes:
        uids = {0x00080016: CT, 0x00080018: uid, 0x0020000D: study, 0x0020000E: study + ".4"}
        head = b"".join(_element(tag, value.encode()) for tag, value in uids.items())
        return head + _element(0x7FE00010, (uid.encode() * (pixels // len(uid) + 1))[:pixels])

    return build


def store_command(uid: str) -> CStoreRQ:
    return CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid, has_data_set=True)


@pytest.fixture(scope="session")
def store(data_set) -> Callable[..., int]:
    """C-STORE an instance in context 3; the status."""

    def send(client, uid: str, pixels: int = 1000, study: str = "1.2.3") -> int:
        client.send_message(3, store_command(uid), data_set(uid, pixels, study))
        return client.receive_command().status

    return send


@pytest.fixture(scope="session")
def begin_store(data_set) -> Callable[..., Callable[[], None]]:
    """The front half of a C-STORE; calling what is returned sends the rest."""

    def fragments(client, data: bytes, *, is_last: bool) -> None:
        for start in range(0, len(data), 16000):
            part = data[start : start + 16000]
            value = PresentationDataValue(3, False, is_last and start + 16000 >= len(data), part)
            client.send(DataTF((value,)).encode())

    def send(client, uid: str, pixels: int = 100_000) -> Callable[[], None]:
        data = data_set(uid, pixels)
        client.send(command(3, codec.encode(store_command(uid)), 16384))
        fragments(client, data[: len(data) // 2], is_last=False)
        return lambda: fragments(client, data[len(data) // 2 :], is_last=True)

    return send


@pytest.fixture(scope="session")
def echo() -> Callable[..., int]:
    """C-ECHO in context 1; the status."""

    def send(client) -> int:
        client.send_message(1, CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION))
        return client.receive_command().status

    return send


@pytest.fixture
def associate(connect, contexts) -> Callable[..., object]:
    """A client with an association."""

    def make(one, **how):
        client = connect(one.port, **how)
        assert isinstance(client.associate(contexts), AssociateAC)
        return client

    return make


@pytest.fixture(scope="session")
def is_whole(data_set) -> Callable[..., bool]:
    """Whether a file is a Part 10 file of exactly this instance."""

    def check(path: Path, uid: str, pixels: int = 1000, study: str = "1.2.3") -> bool:
        raw, data = path.read_bytes(), data_set(uid, pixels, study)
        # The length of the meta information is the value of its first element, (0002,0000).
        meta = 132 + 12 + int.from_bytes(raw[140:144], "little")
        return raw[:132] == bytes(128) + b"DICM" and raw[meta:] == data

    return check


# -- the load


@pytest.fixture
def load(associate, echo) -> Callable[..., object]:
    """``with load(one):`` echoes over an association of its own, all the while; each is answered at once."""

    @contextmanager
    def running(one, every: float = 0.1):
        client = associate(one)
        client.socket.settimeout(PATIENCE)
        over = threading.Event()
        took: list[float] = []
        failed: list[Exception] = []

        def beat() -> None:
            began = time.monotonic()
            assert echo(client) == 0
            took.append(time.monotonic() - began)

        def go_on() -> None:
            try:
                while not over.wait(every):
                    beat()
            except Exception as error:
                failed.append(error)

        beat()
        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE)
        assert not failed, failed
        beat()
        assert max(took) < AT_ONCE, f"an echo took {max(took):.2f} s"

    return running


# -- the process


class Process:
    """What /proc says of a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def resident(self) -> int:
        """Bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu(self) -> float:
        """Seconds of user and system time."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def descriptors(self) -> list[int]:
        return sorted(int(path.name) for path in Path(f"/proc/{self.pid}/fd").iterdir())

    def limit(self, resource: str, value: object, wrap: tuple[str, ...] = ()) -> None:
        """Set a soft limit: ``limit("nofile", 20)``; ``wrap`` goes before the command that does it."""
        subprocess.run([*wrap, "prlimit", f"--pid={self.pid}", f"--{resource}={value}:"], check=True)


@pytest.fixture
def process(possible) -> Callable[..., Process]:
    possible(Path("/proc/self/statm").exists() and shutil.which("prlimit"), "looking at and limiting a process")
    return lambda one: Process(one.pid)


@pytest.fixture(scope="session")
def busy() -> Callable[..., float]:
    """The share of a processor that a process takes while the test waits in ``recv`` for ``seconds``."""

    def measure(process: Process, seconds: float = 1.0) -> float:
        near, far = socket.socketpair()
        with near, far:
            near.settimeout(seconds)
            began, cpu = time.monotonic(), process.cpu
            with pytest.raises(TimeoutError):
                near.recv(1)
            return (process.cpu - cpu) / (time.monotonic() - began)

    return measure


# -- file systems


class Mounts:
    """Mounts of a test, every one of them gone at its end."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    def tmpfs(self, folder: Path, options: str) -> bool:
        folder.mkdir(exist_ok=True)
        return self._mount(folder, "-t", "tmpfs", "-o", options, "scpd-test", str(folder))

    def bind(self, source: Path, folder: Path) -> bool:
        folder.mkdir(exist_ok=True)
        return self._mount(folder, "--bind", str(source), str(folder))

    def remount(self, folder: Path, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    def detach(self, folder: Path) -> None:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        self._made.remove(folder)

    def _mount(self, folder: Path, *how: str) -> bool:
        done = subprocess.run(["mount", *how], capture_output=True, check=False).returncode == 0
        if done:
            self._made.append(folder)
        return done

    def clean_up(self) -> None:
        for folder in reversed(self._made):
            subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def mounts(tmp_path, possible) -> Iterator[Mounts]:
    made = Mounts()
    try:
        possible(os.geteuid() == 0 and made.tmpfs(tmp_path / "try", "size=64k"), "mounting a file system")
        yield made
    finally:
        made.clean_up()
