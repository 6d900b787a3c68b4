"""A real archive: DCMTK's dcmqrscp with its own storage area in a temporary folder, on a free port of 127.0.0.1.

- ``with Dcmqrscp(destinations={"STORE": port}) as archive:`` serves C-FIND, C-MOVE, C-GET and C-STORE under
  ``archive.title`` on ``archive.port``; C-MOVE goes to the AE titles of ``destinations``, on 127.0.0.1
- ``archive.add(path, …)`` takes files into it without any network, so that they are held as they are
- ``archive.held()`` are the files that it holds
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from components.realm import PATIENCE, free_port, program, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Mapping

TITLE = "DCMQRSCP"
_CONFIGURATION = """
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 32
HostTable BEGIN
{destinations}
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{title} {area} RW (400, 1024mb) ANY
AETable END
"""


class Dcmqrscp:
    """An archive, from ``with`` to its end. ``options`` are further ones of its command line, as ``+xs``."""

    def __init__(self, *options: str, title: str = TITLE, destinations: Mapping[str, int] | None = None):
        self.title = title
        self.port = free_port()
        self._options = options
        self._destinations = destinations or {}

    def __enter__(self) -> Self:
        server = program("dcmqrscp")
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dcmqrscp-")))
            self.area = self.folder / "area"
            self.area.mkdir()
            self._configure()
            with (self.folder / "output").open("wb") as output:
                self._process = subprocess.Popen(
                    [server, "--config", self.folder / "dcmqrscp.cfg", *self._options, str(self.port)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # it makes a process for each association
                )
            stack.callback(self._stop)
            wait_for_port(self.port, self._process)
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def address(self) -> str:
        """HOST:PORT, as a command takes it."""
        return f"127.0.0.1:{self.port}"

    def add(self, *paths: Path | str) -> None:
        """Copies of these files, byte for byte, as instances that it holds."""
        copies = [self.area / f"{len(self.held()) + number:06}.dcm" for number in range(len(paths))]
        for path, copy in zip(paths, copies, strict=True):
            shutil.copyfile(path, copy)
        done = subprocess.run(
            [program("dcmqridx"), self.area, *copies], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, f"dcmqridx failed:\n{done.stdout}{done.stderr}"

    def held(self) -> list[Path]:
        """The files that it holds."""
        return sorted(path for path in self.area.iterdir() if path.name != "index.dat")

    def said(self) -> str:
        """What it has written to its log."""
        return (self.folder / "output").read_text(errors="replace")

    def _configure(self) -> None:
        destinations = [f"{title} = ({title}, 127.0.0.1, {port})" for title, port in self._destinations.items()]
        facts = {"port": self.port, "title": self.title, "area": self.area, "destinations": "\n".join(destinations)}
        (self.folder / "dcmqrscp.cfg").write_text(_CONFIGURATION.format(**facts))

    def _stop(self) -> None:
        """Its children with it, by the session that is theirs alone."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
