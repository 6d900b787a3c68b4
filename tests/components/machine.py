"""A Debian that boots with systemd, as it is on a server, and scpd in it as a sysadmin would install it.

A :class:`Machine` is a root directory of debootstrap's, started by systemd-nspawn with a network of its own; what is
written in it goes to memory and is gone with it. The virtual environment at /opt/scpd is kept between two runs as the
root is, with all that scpd needs but scpd itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from components import debian_root

PROJECT = Path(__file__).parents[2]
PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter")
PACKAGES = ("dbus", "iproute2", "procps", "python3", "python3-venv", "systemd", "systemd-sysv")
PATIENCE = 60.0
_LONG = 600.0
# Two machines may not share a control group, so each is given one of its own, whatever the version of these.
_GROUPS = tuple(map(Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")))
_NSPAWN = (
    "systemd-nspawn",
    "--register=no",
    "--keep-unit",
    "--private-network",
    "--console=pipe",
    "--volatile=overlay",
)
_UNITS = {
    "scpd.service": "/etc/systemd/system/scpd.service",
    "scpd.socket": "/etc/systemd/system/scpd.socket",
    "scpd.sysusers.conf": "/usr/lib/sysusers.d/scpd.conf",
    "scpd.tmpfiles.conf": "/usr/lib/tmpfiles.d/scpd.conf",
}
_MADE = ("/etc/systemd/system/scpd.service.d", "/etc/systemd/system/scpd.socket.d", "/var/lib/scpd", "/etc/scpd")
_CONFIGURATION = {"ae_title": "ARCHIVE", "bind": "127.0.0.1:11112", "storage": {"directory": "/var/lib/scpd/store"}}


def missing() -> str:
    """What keeps a machine from being booted here, or nothing."""
    programs = [name for name in PROGRAMS if not shutil.which(name)]
    return "root" if os.geteuid() else ", ".join(programs)


def wait_until(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> Any:
    """What ``condition`` gives, once it is something: looked at again and again, with a deadline."""
    nothing = select.poll()
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about in {timeout} s"
        nothing.poll(50)
    return found


def wheel(folder: Path) -> Path:
    """The project as a wheel in ``folder``, made of a copy: building leaves things behind."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(PROJECT / name, copy)
        shutil.copytree(PROJECT / "scpd", Path(copy) / "scpd", ignore=shutil.ignore_patterns("__pycache__"))
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), copy)
    return next(folder.glob("scpd-*.whl"))


def _environment(suite: str, root: Path) -> Path:
    """/opt/scpd of a machine: a virtual environment with what scpd needs."""
    needed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    digest = hashlib.sha256("\n".join(needed).encode()).hexdigest()[:12]
    made = debian_root.cache() / f"environment-{suite}-{digest}"
    if not made.is_dir():
        with tempfile.TemporaryDirectory(dir=made.parent, prefix="environment-") as folder:
            half = Path(folder) / "made"
            half.mkdir()
            _make_environment(root, half, Path(folder) / "wheels", needed)
            half.rename(made)
    return made


def _make_environment(root: Path, target: Path, wheels: Path, needed: list[str]) -> None:
    """Wheels are fetched out here, as this machine is set up to fetch them, for the Python in there."""
    asked = subprocess.run(
        ["chroot", root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    version = asked.stdout.strip()
    _pip("download", "--only-binary=:all:", "--python-version", version, "--dest", str(wheels), *needed)
    (wheels / "needed").write_text("\n".join(needed))
    install = (
        "python3 -m venv /opt/scpd && /opt/scpd/bin/pip install -q --no-index --find-links /wheels -r /wheels/needed"
    )
    mounts = (f"--bind={target}:/opt/scpd", f"--bind-ro={wheels}:/wheels")
    command = [*_NSPAWN, "--quiet", *mounts, "-D", root, "sh", "-c", install]
    subprocess.run(command, check=True, timeout=_LONG, stdin=subprocess.DEVNULL)


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments], capture_output=True, text=True, timeout=_LONG, check=False
    )
    assert done.returncode == 0, f"pip {arguments[0]} failed:\n{done.stderr[-2000:]}"


class Machine:
    """A ``suite`` of Debian that runs, with scpd installed from a wheel, and none of its units set up yet."""

    def __init__(self, suite: str, installed: Path) -> None:
        root = debian_root.debian_root(suite, PACKAGES)
        name = f"scpd-{suite}-{os.getpid()}"
        self._groups = [group / name for group in _GROUPS if (group / "cgroup.procs").exists()]
        joined = " && ".join(f"mkdir {group} && echo $$ > {group}/cgroup.procs" for group in self._groups)
        mounts = (f"--overlay={_environment(suite, root)}::/opt/scpd", f"--bind-ro={installed.parent}:/wheels")
        boot = [*_NSPAWN, "--boot", f"--machine={name}", *mounts, "-D", str(root)]
        self._nspawn = subprocess.Popen(
            ["sh", "-c", f'{joined or "true"} && exec "$@"', "sh", *boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._began = time.time()
        try:
            self._leader = wait_until(self._first_process, "the first process")
            wait_until(lambda: self._state() in ("running", "degraded"), "a running system")
            self.run("env", "-i", "/opt/scpd/bin/pip", "install", "--quiet", "--no-deps", f"/wheels/{installed.name}")
        except BaseException:
            self._end()
            raise

    def _first_process(self) -> int:
        """That of the machine; before it there are others for a moment."""
        assert self._nspawn.poll() is None, self._nspawn.stderr.read()
        for child in Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return 0

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    # -- commands and files

    def enter(self, *command: str) -> list[str]:
        """What runs ``command`` in there, as root."""
        return ["nsenter", f"--target={self._leader}", "--all", "--", *command]

    def run(self, *command: str, check: bool = True, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = self.run("systemctl", *arguments, check=False)
        if check and done.returncode:
            journal = self.run("journalctl", "--unit=scpd.*", "--lines=20", "--no-pager", check=False).stdout
            raise AssertionError(f"systemctl {' '.join(arguments)}: {done.returncode}: {done.stderr}\n{journal}")
        return done

    def python(self, script: str) -> str:
        """What a script prints, run by the Python that has scpd."""
        return self.run("/opt/scpd/bin/python", "-c", script).stdout.strip()

    def scpd(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("/opt/scpd/bin/scpd", *arguments, check=check)

    def path(self, name: str) -> Path:
        """A file in there, from out here."""
        return Path(f"/proc/{self._leader}/root{name}")

    def write(self, name: str, text: str, *, mode: str = "0644", group: str = "root") -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)
        self.run("chown", f"root:{group}", name)
        self.run("chmod", mode, name)

    def configure(self, **keys: Any) -> None:
        """Write /etc/scpd/scpd.yaml, as its user may read it."""
        text = yaml.safe_dump({**_CONFIGURATION, **keys})
        self.write("/etc/scpd/scpd.yaml", text, mode="0640", group="scpd")

    # -- units

    def restore(self) -> None:
        """The units as the project has them, none of them running, and nothing of what a test has made."""
        self.systemctl("stop", "scpd.socket", "scpd.service", check=False)
        for name in _MADE:
            shutil.rmtree(self.path(name), ignore_errors=True)
        for source, target in _UNITS.items():
            self.write(target, (PROJECT / "systemd" / source).read_text())
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed", "scpd.socket", "scpd.service", check=False)
        self._began = time.time()

    def prepare(self) -> None:
        """Make the user and the directories."""
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/scpd.conf")

    def drop_in(self, text: str) -> None:
        """What ``systemctl edit scpd`` would write."""
        self.write("/etc/systemd/system/scpd.service.d/test.conf", text)
        self.systemctl("daemon-reload")

    def show(self, *properties: str) -> dict[str, str]:
        """Properties of the service, as ``systemctl show`` has them."""
        lines = self.systemctl("show", "scpd.service", f"--property={','.join(properties)}").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def state(self) -> str:
        return self.show("ActiveState")["ActiveState"]

    @property
    def pid(self) -> int:
        """The daemon's, as it is known in there; 0 where it does not run."""
        return int(self.show("MainPID")["MainPID"])

    def kill(self, signal: str) -> None:
        """Send the daemon a signal, as from anybody."""
        self.run("kill", f"-{signal}", str(self.pid))

    def journal(self, *options: str) -> list[dict[str, Any]]:
        """Entries of the service's own processes since :meth:`restore`."""
        self.run("journalctl", "--sync")
        match = ("_SYSTEMD_UNIT=scpd.service", f"--since=@{self._began:.6f}")
        return [json.loads(line) for line in self.run("journalctl", "-o", "json", *match, *options).stdout.splitlines()]

    def logs(self) -> list[dict[str, Any]]:
        """The lines of scpd's log among them."""
        texts = [entry["MESSAGE"] for entry in self.journal()]
        return [json.loads(text) for text in texts if isinstance(text, str) and text.startswith("{")]

    # -- the end

    def power_off(self) -> None:
        self.systemctl("poweroff", check=False)
        with suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(PATIENCE)
        self._end()

    def _end(self) -> None:
        self._nspawn.kill()  # and the machine with it, if it still runs
        self._nspawn.wait()
        self._nspawn.stderr.close()
        for group in self._groups:
            wait_until(partial(_removed, group), "the end of its processes")


def _removed(group: Path) -> bool:
    """Whether a control group is gone, with all below it."""
    with suppress(OSError):
        for one in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            one.rmdir()
        group.rmdir()
    return not group.exists()
