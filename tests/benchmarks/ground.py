"""Where a benchmark happens: folders, the two C programs, the data sets, a certificate. All of it is removed at the end.

Programs stand in the system's temporary folder (/dev/shm is often mounted noexec); what is sent, what
is received and the logs stand in memory, or what is received under `--disk`.
"""

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import held
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MEMORY = Path("/dev/shm")
MIB, GIB = 1 << 20, 1 << 30
PAGES_TAKEN = 2.3  # a little over the kernel's delay of 2 s
LEAST_FREE = 3 * GIB
GIANT_FREE = 3 * GIB  # the data set, its received copy, and some air
GIANT_MEMORY = 6 * GIB  # both of those where they are memory, and twice in dimseload
INDEX_FREE = 3 * GIB
_TLS_BUILD = ("-DTLS", "-lssl", "-lcrypto")
_NAMED = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")


class RunFailed(Exception):
    """A run that gave no figure: what went wrong, in one line."""


@dataclass
class Ground:
    programs: Path
    data: Path  # data sets to send
    served: Path  # servers' folders are made in it
    logs: Path
    smoke: bool
    durability: str
    synced: bool  # write-back is finished between runs, where a disk is measured
    notes: list[str] = field(default_factory=list)
    receiver: int = field(default_factory=lambda: free_port())  # where scpd sends to when it is told so
    _tags: itertools.count = field(default_factory=lambda: itertools.count(1))

    def program(self, name, *, tls=False):
        """The path of dimseload or dimselimit, or of its build that speaks TLS."""
        return str(self.programs / (f"{name}-tls" if tls else name))

    def tag(self):
        """A number that makes one run's UIDs different from every other run's."""
        return next(self._tags)

    def data_keys(self, name):
        """dimseload's keys for the data set `name`."""
        return (self.data / f"{name}.args").read_text().split()

    def ct_files(self, count):
        """A folder with `count` CT slices of 512 by 512 as Part 10 files, made once."""
        folder = self.data / f"files{count}"
        if not folder.exists():
            _write_ct_files(folder, count)
        return folder

    def index(self):
        """The file of an index for scpd that knows 100 instances of each study, made once."""
        path = self.data / "index.db"
        if not path.exists():
            if shutil.disk_usage(self.data).free < INDEX_FREE:
                raise RunFailed(f"{self.data} has less than {INDEX_FREE // GIB} GiB free for an index")
            held.make_index(path, self.data / "small.bin", studies=self.studies(), each=100)
        return path

    def area(self):
        """The same for DCMTK's archive, of fewer studies."""
        folder = self.data / "area"
        if not folder.exists():
            held.make_area(folder, self.data / "small.bin", studies=self.area_studies(), each=100)
            self.note(f"find: scpd held {self.studies():,} studies of 100 instances, dcmqrscp {self.area_studies():,}")
        return folder

    def studies(self):
        """How many studies scpd's index knows."""
        return 50 if self.smoke else 10_000

    def area_studies(self):
        """How many DCMTK's archive holds: it can be told of no more."""
        return 10 if self.smoke else 500

    def certificate(self):
        """A certificate of RSA with 2048 bits, which every server takes, and its key: two paths, made once."""
        certificate, key = self.data / "server.crt", self.data / "server.key"
        if not certificate.exists():
            command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", *_NAMED]
            made = [*command, "-keyout", str(key), "-out", str(certificate)]
            subprocess.run(made, check=True, timeout=60, capture_output=True)
        return certificate, key

    def passwords(self):
        """A password file with one user, made once."""
        path = self.data / "passwords"
        if not path.exists():
            command = [sys.executable, "-m", "scpd", "passwd", str(path), "alice"]
            subprocess.run(command, cwd=ROOT, input=b"secret\n", check=True, timeout=60, capture_output=True)
        return path

    @contextmanager
    def giant(self):
        """dimseload's keys for a data set of 1 GiB (smoke: 128 MiB), or None where it does not fit."""
        if lacking := self._lacks_room():
            self.note(f"bigmem: no data set of 1 GiB was sent: {lacking}")
            yield None
            return
        keys, path = self.data_keys("big"), self.data / "giant.bin"
        try:
            _write_giant(self.data / "big.bin", path, frames=256 if self.smoke else 2048)
            yield [f"file={path}" if key.startswith("file=") else key for key in keys]
        finally:
            path.unlink(missing_ok=True)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def warm_memory(self, size):
        """Use and free `size` bytes, since a virtual machine's first touch of a page costs more than a server's work.

        Where the host takes free pages back, it does so up to 2 s after any are freed: the memory is kept until
        what was freed before has been taken, so that what is freed now stays for the run.
        """
        path, block = self.data / "warm", bytes(MIB)
        try:
            with path.open("wb", buffering=0) as file:
                for _ in range(min(size, _memory_available() // 4) // MIB):
                    file.write(block)
            if not self.smoke and _host_takes_pages():
                time.sleep(PAGES_TAKEN)
        except OSError as failure:
            self.note(f"memory was not warmed: {failure}")
        finally:
            path.unlink(missing_ok=True)

    def settle(self):
        """Nothing of the run before is written back during the next one."""
        if self.synced:
            os.sync()

    def _lacks_room(self):
        for folder in (self.data, self.served):
            if shutil.disk_usage(folder).free < GIANT_FREE:
                return f"{folder} has less than {GIANT_FREE // GIB} GiB free"
        if _memory_available() < GIANT_MEMORY:
            return f"less than {GIANT_MEMORY // GIB} GiB of memory is available"
        return ""


@contextmanager
def ground(*, smoke, durability, disk):
    """Build everything, hand it out, remove it."""
    with ExitStack() as stack:

        def folder(parent):
            made = tempfile.TemporaryDirectory(prefix="scpd-bench-", dir=parent, ignore_cleanup_errors=True)
            return Path(stack.enter_context(made))

        notes = []
        memory = MEMORY if _roomy(MEMORY) else None
        if memory is None:
            notes.append(f"{MEMORY} is missing or small: everything stood in {tempfile.gettempdir()}")
        programs, fast = folder(None), folder(memory)
        served = folder(disk) if disk else fast / "served"
        for made in (fast / "data", fast / "logs", served):
            made.mkdir(exist_ok=True)
        _compile(programs)
        _make_data_sets(fast / "data")
        yield Ground(programs, fast / "data", served, fast / "logs", smoke, durability, bool(disk), notes)


def free_port():
    """A port of 127.0.0.1 that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _roomy(folder):
    return folder.is_dir() and shutil.disk_usage(folder).free >= LEAST_FREE


def _memory_available():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


@cache
def _host_takes_pages():
    """Whether a memory balloon was agreed on with free page reporting (bit 5 of its features)."""
    features = Path("/sys/bus/virtio/drivers/virtio_balloon").glob("*/features")
    return any(path.read_text()[5:6] == "1" for path in features)


def _compile(programs):
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("bench: a C compiler is needed and `cc` was not found; install gcc or clang")
    for name in ("dimseload", "dimselimit"):
        command = [compiler, "-O2", "-pthread", str(HERE / f"{name}.c"), "-o"]
        subprocess.run([*command, str(programs / name)], check=True, timeout=120)
        if not tls_missing():
            subprocess.run([*command, str(programs / f"{name}-tls"), *_TLS_BUILD], check=True, timeout=120)


@cache
def tls_missing():
    """What TLS needs here and is not installed, or nothing."""
    asked = [shutil.which("cc"), "-E", "-x", "c", "-include", "openssl/ssl.h", os.devnull]
    if subprocess.run(asked, capture_output=True, timeout=60).returncode:
        return "OpenSSL's headers (libssl-dev)"
    return "" if shutil.which("openssl") else "the program openssl"


def _make_data_sets(folder):
    command = [sys.executable, str(HERE / "datasets.py"), str(folder)]
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)


def _write_giant(big, giant, *, frames):
    """Make `giant` of `big`'s elements and `frames` sparse frames of 512 KiB."""
    raw = big.read_bytes()
    number_of_frames = raw.index(b"\x28\x00\x08\x00IS\x04\x00") + 8
    pixels = raw.rindex(b"\xe0\x7f\x10\x00OW\x00\x00") + 8
    length = frames * 512 * 1024
    with giant.open("wb") as file:
        file.write(raw[:number_of_frames] + b"%-4d" % frames + raw[number_of_frames + 4 : pixels])
        file.write(length.to_bytes(4, "little"))
        file.truncate(pixels + 4 + length)


def _write_ct_files(folder, count):
    folder.mkdir()
    ct = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ct.pop("DataSetTrailingPadding", None)
    ct.Rows = ct.Columns = 512
    ct["PixelData"].value = bytes(range(256)) * (512 * 512 * 2 // 256)
    ct.StudyInstanceUID, ct.SeriesInstanceUID = generate_uid(), generate_uid()
    for number in range(1, count + 1):
        ct.InstanceNumber = number
        ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ct.save_as(folder / f"{number:04}.dcm")
