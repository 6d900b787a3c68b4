"""The servers that are measured: how each is started, known to be ready, and ended.

Every run has a fresh server and an empty folder, and only one server is alive at a time.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ground import HERE, ROOT, Ground, RunFailed, free_port

START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0
ECHO_TIMEOUT = 10.0
POLL = 0.005
LIMIT_PDU = "262144"  # scpd's pdu_length

SCPD_CONFIG = """\
ae_title: SCPD
bind: "127.0.0.1:{port}"
contexts: [verification, {{sop_classes: storage, transfer_syntaxes: all}}{contexts}]
limits: {{associations: 2000, associations_per_address: 2000, pending: 2000, pending_per_address: 2000}}
storage: {{directory: "{folder}", durability: {durability}, reserve: 0}}
logging: {{level: info, format: json}}
"""
# A small archive: what it holds is in an index, and is found and sent.
SCPD_INDEXED = """\
index: {index}
peers: {{LIMIT: {{address: "127.0.0.1:{receiver}", ae_title: LIMIT}}}}
"""
DCMQRSCP_CONFIG = """\
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 32
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ANY {area} RW (500, 1024mb) ANY
AETable END
"""
# Asked every second, as a metrics server and somebody who looks at the status page would.
SCPD_WATCHED = """\
admin: {{bind: "127.0.0.1:{port}"}}
"""
SCPD_TLS = """\
tls: {{certificate: "{certificate}", key: "{key}"}}
"""
# As a hospital would have it: rules that are looked at one after the other, the one for dimseload says what it may use.
SCPD_DOORS = """\
access:
  - deny: {{address: 192.0.2.0/24}}
  - allow: {{address: 10.0.0.0/8, calling: ["CT*", "MR*"], services: [verification, storage]}}
  - allow: {{address: [127.0.0.0/8, "::1"], calling: [WORKSTATION, "LOAD*"], services: [verification, storage]}}
  - deny: all
user_identity: {{providers: [{{kind: passwords, file: "{passwords}"}}]}}
"""


@dataclass(frozen=True)
class Site:
    """What one start of a server is given."""

    ground: Ground
    port: int
    folder: Path
    config: Path


@dataclass(frozen=True)
class Server:
    name: str  # the report's column, which the same server over TLS shares
    command: Callable[[Site], list[str]]
    missing: Callable[[], str] = lambda: ""  # what is not installed, or nothing
    tls: bool = False


@dataclass(frozen=True)
class Running:
    server: Server
    process: subprocess.Popen
    site: Site
    ready_after: float = 0.0  # seconds from the start to the answer to a C-ECHO

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.site.port

    def load(self, mode, *words):
        """dimseload's command line for this server."""
        program = self.site.ground.program("dimseload", tls=self.server.tls)
        return [program, mode, "127.0.0.1", str(self.port), "ANY", *words]

    def stored(self):
        """How many instances stand in the folder (hidden and partial files are none)."""
        folder = self.site.folder
        return sum(_is_instance(path, folder) for path in folder.rglob("*"))

    def indexed(self):
        """How many instances stand in the index that scpd keeps of this folder; None where it keeps none."""
        path = self.site.folder / ".index/index.db"
        if not path.exists():
            return None
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute("SELECT count(*) FROM instances").fetchone()[0]

    def stop(self):
        """Before the end of its run."""
        _end(self.process)


@contextmanager
def serving(ground, server, port=None):
    """Start `server` with an empty folder, wait until it answers a C-ECHO; at the end stop it and empty the folder."""
    slug = re.sub(r"\W+", "-", server.name)
    folder = ground.served / slug
    _remove(folder)
    folder.mkdir()
    ground.settle()
    port = port or free_port()
    site = Site(ground, port, folder, ground.logs / f"{slug}.yaml")
    log = ground.logs / f"{slug}.log"
    command = server.command(site)
    try:
        with log.open("wb") as output:
            begin = time.monotonic()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_for_connect(process, port, log)
            running = Running(server, process, site)
            _echo(running, log)
            yield replace(running, ready_after=time.monotonic() - begin)
        finally:
            _end(process)
    finally:
        _remove(folder)


def _wait_for_connect(process, port, log):
    for _ in range(int(START_TIMEOUT / POLL)):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None:
                raise RunFailed(f"exit {process.returncode} at the start: {_tail(log)}") from None
            time.sleep(POLL)
        else:
            return
    raise RunFailed(f"nothing listens after {START_TIMEOUT:.0f} s: {_tail(log)}")


def _echo(running, log):
    try:
        subprocess.run(running.load("echo", "count=1"), check=True, timeout=ECHO_TIMEOUT, capture_output=True)
    except subprocess.SubprocessError:
        raise RunFailed(f"the first C-ECHO was not answered: {_tail(log)}") from None


def _end(process):
    """TERM, then KILL what is left of the session that this process was started in."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _remove(folder):
    shutil.rmtree(folder, ignore_errors=True)


def _is_instance(path, folder):
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix != ".part" and path.is_file()


def _tail(log):
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(line[:300] for line in lines[-3:]) or "no output"


@cache
def dcmtk(program):
    """The path of DCMTK's `program`, or None. pynetdicom installs programs of the same names: they are not meant."""
    for folder in os.get_exec_path():
        path = shutil.which(program, path=folder)
        if path and b"dcmtk" in _version(path):
            return path
    return None


def _version(path):
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def dcmtk_version():
    path = dcmtk("storescp")
    return _version(path).split()[2].decode() if path else None


def _scpd(site, more="", *, durability="", contexts=""):
    durability = durability or site.ground.durability
    text = SCPD_CONFIG.format(port=site.port, folder=site.folder, durability=durability, contexts=contexts)
    site.config.write_text(text + more)
    if command := os.environ.get("SCPD_BENCH_COMMAND"):
        places = {"config": site.config, "port": site.port, "folder": site.folder}
        return [word.format(**places) for word in shlex.split(command)]
    return [sys.executable, "-m", "scpd", "run", str(site.config)]


def _scpd_tls(site):
    certificate, key = site.ground.certificate()
    return _scpd(site, SCPD_TLS.format(certificate=certificate, key=key))


def _scpd_watched(site):
    return _scpd(site, SCPD_WATCHED.format(port=free_port()))


def _scpd_doors(site):
    return _scpd(site, SCPD_DOORS.format(passwords=site.ground.passwords()))


def _scpd_durable(site):
    return _scpd(site, durability="fsync")


def _scpd_indexed(site):
    return _archive(site, "{}", durability="fsync")


def _scpd_archive(site):
    return _archive(site, "{}")


def _scpd_of_many(site):
    return _archive(site, f'{{url: "sqlite:///{site.ground.index()}"}}')


def _archive(site, index, *, durability=""):
    more = SCPD_INDEXED.format(index=index, receiver=site.ground.receiver)
    return _scpd(site, more, durability=durability, contexts=", query_retrieve")


def _orthanc(site):
    """As durable as it can be: files are written through; its index is, as it always is, in SQLite's WAL."""
    configuration = {
        "StorageDirectory": str(site.folder),
        "IndexDirectory": str(site.folder / ".index"),
        "SyncStorageArea": True,
        "DicomAet": "ORTHANC",
        "DicomPort": site.port,
        "HttpServerEnabled": False,
        "Plugins": [],
    }
    site.config.write_text(json.dumps(configuration))
    return [orthanc(), str(site.config)]


def orthanc():
    """The path of Orthanc, or None."""
    return shutil.which("Orthanc", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def orthanc_version():
    path = orthanc()
    return _version(path).split()[1].decode() if path else None


def _dcmqrscp(site):
    """Its index is larger than it expects, and it would say so for each record that it reads."""
    site.config.write_text(DCMQRSCP_CONFIG.format(port=site.port, area=site.ground.area()))
    return [dcmtk("dcmqrscp"), "--log-level", "fatal", "--config", str(site.config), str(site.port)]


def _dimselimit(site):
    return [site.ground.program("dimselimit"), str(site.port), str(site.folder)]


def _dimselimit_tls(site):
    program = site.ground.program("dimselimit", tls=True)
    return [program, str(site.port), str(site.folder), LIMIT_PDU, *map(str, site.ground.certificate())]


def _storescp(*options):
    return lambda site: [
        dcmtk("storescp"), *options, "-od", str(site.folder), str(site.port)
    ]  # fmt: skip


def _storescp_tls(site):
    certificate, key = site.ground.certificate()
    return _storescp("--fork", "+B", "-ic", "+tls", str(key), str(certificate))(site)


def _storescp_missing():
    return "" if dcmtk("storescp") else "DCMTK's storescp"


def _storescp_tls_missing():
    has_tls = dcmtk("storescp") and b"OpenSSL" in _version(dcmtk("storescp"))
    return _storescp_missing() or ("" if has_tls else "DCMTK's storescp with TLS")


def _pynetdicom(site):
    command = [sys.executable, "-m", "pynetdicom", "storescp", str(site.port)]
    return [*command, "-ba", "127.0.0.1", "-od", str(site.folder)]


def _pynetdicom_missing():
    return "" if importlib.util.find_spec("pynetdicom") else "pynetdicom"


def _library(site):
    return [sys.executable, str(HERE / "library.py"), str(site.port), str(site.folder)]


SCPD = Server("scpd", _scpd)
LIBRARY = Server("scpd's AE", _library)
LIMIT = Server("dimselimit", _dimselimit)
STORESCP = Server("storescp", _storescp(), _storescp_missing)
STORESCP_FAST = Server("storescp --fork +B", _storescp("--fork", "+B"), _storescp_missing)
PYNETDICOM = Server("pynetdicom", _pynetdicom, _pynetdicom_missing)
SCPD_OVER_TLS = Server(SCPD.name, _scpd_tls, tls=True)
LIMIT_OVER_TLS = Server(LIMIT.name, _dimselimit_tls, tls=True)
STORESCP_OVER_TLS = Server(STORESCP_FAST.name, _storescp_tls, _storescp_tls_missing, tls=True)
GUARDED = Server("scpd, guarded", _scpd_doors)
WATCHED = Server("scpd, watched", _scpd_watched)
DURABLE = Server("scpd, fsync", _scpd_durable)
INDEXED = Server("scpd, index", _scpd_indexed)
ARCHIVE = Server(INDEXED.name, _scpd_archive)
OF_MANY = Server(INDEXED.name, _scpd_of_many)
ORTHANC = Server("Orthanc", _orthanc, lambda: "" if orthanc() else "Orthanc")
DCMQRSCP = Server("dcmqrscp", _dcmqrscp, lambda: "" if dcmtk("dcmqrscp") and dcmtk("dcmqridx") else "DCMTK's dcmqrscp")
SERVERS = (
    *(SCPD, DURABLE, INDEXED, GUARDED, WATCHED, LIBRARY),
    *(LIMIT, STORESCP_FAST, STORESCP, PYNETDICOM, ORTHANC, DCMQRSCP),
)
