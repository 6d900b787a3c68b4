"""The container image, really built, and containers of it, really run; no container engine is needed.

``build(context)`` has buildah build the Dockerfile upon a base image that is made here, of debootstrap's root. A
:class:`Container` is started from the image's own root directory as an engine would start it: namespaces of its own,
a root that cannot be written to, any user, no capability, what the image says as environment, entry point and command.

How pip reaches its packages on this machine is handed to the build, and nothing of it into the image.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from components import debian_root

BASE = "docker.io/library/debian:bookworm-slim"  # what the Dockerfile's name means to an engine
NAME = "localhost/scpd-test"
PROGRAMS = ("buildah", "debootstrap", "unshare", "nsenter", "setpriv", "ip")
_PATIENCE = 900.0
_SOON = 30.0
# A device is mounted over an empty file; places of mounts that the image does not have are made, as engines do.
_START = r"""
set -e
folder=$1 root=$1/root
shift
mount --make-rprivate /
mount -t overlay -o "lowerdir=$IMAGE,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for one in null zero full random urandom; do touch "$root/dev/$one"; mount --bind "/dev/$one" "$root/dev/$one"; done
ln -s /proc/self/fd "$root/dev/fd"
while [ "$1" != -- ]; do
  [ -e "$root$2" ] || { mkdir -p "$root${2%/*}"; touch "$root$2"; }
  mount --bind "$1" "$root$2"
  shift 2
done
shift
[ "$WRITABLE" ] || mount -o remount,ro,bind "$root"
if [ "$OWN_NETWORK" ]; then
  ip link set lo up
  echo 0 >"$root/proc/sys/net/ipv4/ip_unprivileged_port_start"
fi
exec chroot "$root" "$@"
"""


def missing() -> list[str]:
    """What keeps an image from being built and run here."""
    programs = [name for name in PROGRAMS if not shutil.which(name)]
    return programs if os.geteuid() == 0 else ["root", *programs]


@dataclass(frozen=True)
class Image:
    """``root`` is its root directory, only to be read; ``config`` is what an engine knows of it."""

    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(one.split("=", 1) for one in self.config["Env"])

    @property
    def health(self) -> list[str]:
        """The command of its HEALTHCHECK."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return command


@contextmanager
def build(context: Path) -> Iterator[Image]:
    """The image of the tree at ``context``; layers of an earlier build are used again where nothing changed."""
    with (debian_root.cache() / "buildah.lock").open("w") as lock:  # it is mounted as long as it is in use
        fcntl.flock(lock, fcntl.LOCK_EX)
        _discard()  # what a run that was killed has left
        if BASE not in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            _make_base()
        # The first stage has a name too, or its layers would count as nobody's.
        _bud(context, "--target", "build", "--tag", f"{NAME}-stage")
        _bud(context, "--build-arg", "VERSION=0.0.test", "--tag", NAME)
        _buildah("rmi", "--prune")
        config = json.loads(_buildah("inspect", "--type", "image", NAME))["Docker"]["config"]
        yield Image(Path(_buildah("mount", _buildah("from", "--pull-never", NAME))), config)
        _discard()


def _bud(context: Path, *what: str) -> None:
    mounts = [f"--volume={source}:{target}:ro" for target, source in _pip_files().items()]
    how = ("--isolation", "chroot", "--format", "docker", "--pull-never", "--layers")
    _buildah("bud", *how, *mounts, *what, "--file", context / "Dockerfile", context)


def _discard() -> None:
    """Unmount and remove working containers; images stay for the next run."""
    for container in _buildah("containers", "--quiet").split():
        _buildah("rm", container)


def _make_base() -> None:
    container = _buildah("from", "scratch")
    _buildah("copy", "--quiet", container, debian_root.debian_root(), "/")
    _buildah("commit", "--quiet", "--rm", container, BASE)


def _buildah(*arguments: object) -> str:
    folder = debian_root.cache() / "buildah"
    command = ["buildah", "--root", folder / "root", "--runroot", folder / "run", *arguments]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def _pip_files() -> dict[str, Path]:
    """pip's configuration on this machine with the files that it names, as places in the build → files here."""
    listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, timeout=_SOON, check=True).stdout
    settings = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    files = {}
    if certificates := settings.pop("cert", ""):
        settings["cert"] = "/run/pip-certificates"  # the image has a file of its own at the usual place
        files["/run/pip-certificates"] = Path(certificates)
    for value in settings.values():
        for word in value.split():
            # An index is a directory of links to files that stand beside it.
            place = Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)
            if place.is_absolute() and place.exists():
                files[str(place)] = place
    text = "".join(f"{key} = {value}\n" for key, value in settings.items())
    configuration = debian_root.cache() / "pip.conf"
    configuration.write_text(f"[global]\n{text}")
    return {**files, "/etc/pip.conf": configuration}


class Process(NamedTuple):
    """A process by its number in the container, its state (Z is a zombie) and its parent there."""

    number: int
    state: str
    parent: int


class Container:
    """A container that runs; ``lines`` is what it says on standard error, ``logs`` the same as data.

    ``folder`` is for its own use; whatever it writes to its root, where it may, is found in ``written``. ``mounts`` are
    places inside, by which files and directories from here stand there.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        mounts: Mapping[str, Path],
        *,
        user: str,
        arguments: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        writable: bool = False,
        own_network: bool = True,
    ) -> None:
        self.image = image
        self.written = folder / "upper"
        for name in ("root", "upper", "work"):
            (folder / name).mkdir()
        self._environment = {**image.environment, **(environment or {})}
        self._user = user
        self.lines: list[str] = []
        self.logs: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        places = [str(one) for target, source in mounts.items() for one in (source, target)]
        command = [*image.config["Entrypoint"], *(arguments or image.config["Cmd"])]
        network = ["--net"] if own_network else []
        self.process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--pid",
                "--ipc",
                "--uts",
                *network,
                "--fork",
                "sh",
                "-c",
                _START,
                "sh",
            ]
            + [str(folder), *places, "--", *self._as_user(), *command],
            env={
                "PATH": os.environ["PATH"],
                "IMAGE": str(image.root),
                "WRITABLE": "1" * writable,
                "OWN_NETWORK": "1" * own_network,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def init(self) -> int:
        """The process that is the first in there, by its number out here."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    @property
    def first(self) -> str:
        """What the first process is, from the moment that there is one."""
        with suppress(ValueError):
            return Path(f"/proc/{self.init}/comm").read_text().strip()
        return ""

    def processes(self, name: str) -> list[Process]:
        """Those of that name in there."""
        listed = self.execute("sh", "-c", "cat /proc/[0-9]*/stat").stdout
        found = re.findall(r"^(\d+) \((.*)\) (\w) (\d+)", listed, re.MULTILINE)
        return [Process(int(one[0]), one[2], int(one[3])) for one in found if one[1] == name]

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run something inside, as the same user, as an engine does it for a HEALTHCHECK."""
        inside = ("nsenter", "-t", str(self.init), "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd")
        return self._run(*inside, *self._as_user(), *command)

    def beside(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run something of this machine in the network of the container."""
        return self._run("nsenter", "-t", str(self.init), "--net", *map(str, command))

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first log line of that event."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.logs if line.get("event") == event]

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, _SOON)
            assert found(), "\n".join(self.lines[-20:])
            return found()[0]

    def send_signal(self, number: int) -> None:
        """As an engine does: to the first process."""
        os.kill(self.init, number)

    def wait(self) -> int:
        code = self.process.wait(_SOON)
        self._reader.join(_SOON)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait()

    def clean_up(self) -> None:
        with suppress(ValueError, OSError):
            os.kill(self.init, signal.SIGKILL)  # and with it every process of its namespace
        self.process.kill()
        self.process.wait()
        self._reader.join(_SOON)
        self.process.stderr.close()

    def _as_user(self) -> list[str]:
        """Drop everything, as with --user, --cap-drop ALL and no-new-privileges; the image has what this needs."""
        user, _, group = self._user.partition(":")
        drop = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--clear-groups"]
        # A user that is given without a group is in group 0.
        as_user = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group or 0}", *drop]
        environment = [f"{key}={value}" for key, value in self._environment.items()]
        return [*as_user, "/usr/bin/env", f"--chdir={self.image.config['WorkingDir'] or '/'}", "-i", *environment]

    @staticmethod
    def _run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_SOON, check=False, stdin=subprocess.DEVNULL
        )

    def _read(self) -> None:
        assert self.process.stderr
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            try:
                data = json.loads(line)
            except ValueError:
                data = {}
            with self._changed:
                self.lines.append(line)
                self.logs.append(data)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
