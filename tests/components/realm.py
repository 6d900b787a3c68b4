"""A real Kerberos realm: MIT's KDC with its own database, keys and people, in a temporary folder.

It asks no name server, and nothing of the machine's own Kerberos configuration is read.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = 20.0  # seconds until something that must happen counts as never
PASSWORDS = {"alice": "correct horse", "bob": "battery staple"}
SERVICE = "dicom/pacs.example"
OTHER_SERVICE = "other/pacs.example"

_KRB5_CONF = """
[libdefaults]
  default_realm = {name}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {name} = {{
    kdc = 127.0.0.1:{port}
  }}
"""
_KDC_CONF = """
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {name} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/acl
    supported_enctypes = aes256-cts:normal
  }}
[logging]
  kdc = FILE:{folder}/kdc.log
"""
_TICKET = """
import sys
import gssapi
service, flags, mechanism = sys.argv[1:]
context = gssapi.SecurityContext(
    name=gssapi.Name(service, gssapi.NameType.kerberos_principal),
    mech=gssapi.OID.from_int_seq(mechanism),
    flags=int(flags),
    usage="initiate",
)
sys.stdout.buffer.write(context.step())
"""
KERBEROS = "1.2.840.113554.1.2.2"
SPNEGO = "1.3.6.1.5.5.2"
# Flags of GSS-API (RFC 2744): what the initiator asks for.
MUTUAL = 2
INTEGRITY = 32
DCE_STYLE = 0x1000


def program(name: str) -> str:
    """The path of a program, also of those that only root has in his path.

    Without it the test is skipped, but in CI it fails.
    """
    found = shutil.which(name, path=os.pathsep.join([*os.get_exec_path(), "/usr/local/sbin", "/usr/sbin", "/sbin"]))
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and in CI no program may be missing")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until ``process`` accepts connections; it may not end before."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
            return
        with suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"{process.args} ended with {process.wait(0.02)} before it served")
    raise TimeoutError(f"{process.args} does not serve port {port}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)


class Realm:
    """A realm with alice and bob, and the services :data:`SERVICE` and :data:`OTHER_SERVICE`.

    >>> with Realm() as realm:
    ...     token = realm.ticket(realm.kinit("alice"), SERVICE)
    """

    def __init__(self, name: str = "HOSPITAL.EXAMPLE"):
        self.name = name
        self.port = free_port()
        self._files = 0

    def __enter__(self) -> Self:
        server = program("krb5kdc")
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="realm-")))
            self._fill()
            with (self.folder / "output").open("wb") as output:
                kdc = subprocess.Popen(
                    [server, "-n", "-r", self.name], env=self.environment(), stdout=output, stderr=output
                )
            stack.callback(stop, kdc)
            wait_for_port(self.port, kdc)
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _fill(self) -> None:
        facts = {"name": self.name, "port": self.port, "folder": self.folder}
        (self.folder / "krb5.conf").write_text(_KRB5_CONF.format(**facts))
        (self.folder / "kdc.conf").write_text(_KDC_CONF.format(**facts))
        self._run("kdb5_util", "-r", self.name, "-P", "master", "create", "-s")
        self.add(**PASSWORDS)
        self.administer(f"addprinc -randkey {SERVICE}", f"addprinc -randkey {OTHER_SERVICE}")

    def environment(self, ccache: Path | None = None) -> dict[str, str]:
        """What a process needs to live in this realm, with the tickets of ``ccache``."""
        return {**os.environ, **self.settings(ccache)}

    def settings(self, ccache: Path | None = None) -> Mapping[str, str]:
        """The same without what the environment holds already."""
        return {
            "KRB5_CONFIG": str(self.folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
            "KRB5RCACHEDIR": str(self.folder),
            "KRB5CCNAME": f"FILE:{ccache or self.folder / 'nobody'}",
        }

    def add(self, **passwords: str) -> None:
        """People, each with a password."""
        self.administer(*(f'addprinc -pw "{password}" "{name}"' for name, password in passwords.items()))

    def trust(self, other: Realm) -> None:
        """Let the people of ``other`` have tickets for the services here."""
        for one in (self, other):
            one.administer(f"addprinc -pw trust krbtgt/{self.name}@{other.name}")
        with (other.folder / "krb5.conf").open("a") as configuration:
            configuration.write(f"[realms]\n  {self.name} = {{\n    kdc = 127.0.0.1:{self.port}\n  }}\n")

    def keytab(self, *principals: str) -> Path:
        """A new keytab with the present keys of ``principals``."""
        path = self._file("keytab")
        self.administer(*(f"ktadd -norandkey -k {path} {principal}" for principal in principals))
        return path

    def rotate(self, principal: str, keytab: Path) -> None:
        """Give ``principal`` a new key, with the next number, and add that to ``keytab``."""
        self.administer(f"ktadd -k {keytab} {principal}")

    def kinit(self, user: str, password: str | None = None, *, lifetime: str = "1h") -> Path:
        """A credential cache with a ticket-granting ticket of ``user``."""
        ccache = self._file("ccache")
        words = f"{PASSWORDS[user] if password is None else password}\n"
        self._run("kinit", "-l", lifetime, "-c", f"FILE:{ccache}", user, words=words)
        return ccache

    def ticket(self, ccache: Path, service: str = SERVICE, *, flags: int = MUTUAL, mechanism: str = KERBEROS) -> bytes:
        """The first token of GSS-API for ``service``, made in a process of its own."""
        principal = service if "@" in service else f"{service}@{self.name}"
        command = [sys.executable, "-c", _TICKET, principal, str(flags), mechanism]
        return subprocess.run(
            command, env=self.environment(ccache), stdout=subprocess.PIPE, timeout=PATIENCE, check=True
        ).stdout

    def _file(self, kind: str) -> Path:
        self._files += 1
        return self.folder / f"{kind}-{self._files}"

    def administer(self, *queries: str) -> None:
        """Tell ``kadmin.local``; raises what it says when a query fails."""
        said = self._run("kadmin.local", "-r", self.name, words="\n".join(queries) + "\n")
        if " while " in said or "does not exist" in said:  # it ends with 0 whatever happens
            raise RuntimeError(said)

    def _run(self, name: str, *arguments: str, words: str = "") -> str:
        done = subprocess.run(
            [program(name), *arguments],
            env=self.environment(),
            input=words,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr}")
        return done.stderr
