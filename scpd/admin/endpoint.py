"""The endpoint as a whole: an address, what answers there, and the thread that remembers the last minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.admin.app import App
from scpd.admin.front import Front
from scpd.admin.gate import Gate
from scpd.admin.history import History, Sampler
from scpd.admin.hosts import Hosts
from scpd.admin.inquiry import Inquiry
from scpd.errors import ScpdError
from scpd.transport.listener import listen

if TYPE_CHECKING:
    from collections.abc import Collection

    from scpd.admin.facts import Daemon

_PATIENCE = 2.0


class Endpoint:
    """Readiness, metrics and the status page of ``daemon``. ``address`` is where, once it is started.

    ``token`` is that of those who may abort and drain, ``hosts`` are names by which it may be asked for beside IP
    addresses, localhost and the machine's own.
    """

    def __init__(
        self, host: str, port: int, daemon: Daemon, *, token: str | None = None, hosts: Collection[str] = ()
    ) -> None:
        self.address = (host, port)
        inquiry, history = Inquiry(daemon), History()
        self._app = App(daemon, inquiry, history, Gate(token), Hosts(hosts))
        self._sampler = Sampler(inquiry, history)
        self._front: Front | None = None

    def start(self) -> None:
        """Listen and answer from now on. Raises :class:`ScpdError` where the address cannot be had."""
        host, port = self.address
        try:
            listening = listen(host, port)
            self.address = listening.getsockname()[:2]
            self._front = Front(self._app, listening)
            self._sampler.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread
            self.close()
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise ScpdError(f"cannot listen on {shown}: {getattr(error, 'strerror', None) or error}") from error

    def admit(self, token: str | None, hosts: Collection[str] = ()) -> None:
        """Another token and other names from now on."""
        self._app.admit(token, Hosts(hosts))

    def close(self) -> None:
        """Answer no more; what is being answered has a few seconds."""
        if self._front:
            self._front.close()
            self._sampler.close(_PATIENCE)
            self._front = None
