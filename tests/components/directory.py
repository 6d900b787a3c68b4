"""A real directory: OpenLDAP's slapd with its own database, certificate and people, in a temporary folder."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from components.realm import PATIENCE, free_port, program, stop, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIX = "dc=hospital,dc=example"
PEOPLE = f"ou=people,{SUFFIX}"
TEMPLATE = f"uid={{user}},{PEOPLE}"
PASSCODES = {
    "alice": "correct horse",
    "bob": "battery staple",
    "Müller": "Grüße, Jürgen",
    "sm,ith": "comma",
    "#+\\\"<>;='": "signs",
    "hidden": "may not see himself",
}
EMPLOYEE_TYPE = "technologist"
GROUPS = {f"cn=Radiology,ou=groups,{SUFFIX}": ["alice"], rf"cn=Heart\2C Lung,ou=groups,{SUFFIX}": ["alice", "Müller"]}

_CONFIGURATION = """
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
moduleload memberof
pidfile {folder}/pid
threads 8
{options}
database mdb
maxsize 10485760
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
rootpw admin
directory {folder}
access to dn.base="uid=hidden,{people}" by anonymous auth by * none
access to attrs=userPassword by anonymous auth by * none
access to * by self read by * none
overlay memberof
"""
_TLS = """
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
"""


def _first(*folders: str) -> str:
    return next((one for one in folders if Path(one).is_dir()), folders[0])


def dn(user: str) -> str:
    """The name of a user's entry (RFC 4514): every sign that is not a letter as its bytes."""
    value = "".join(sign if sign.isalpha() else "".join(f"\\{byte:02X}" for byte in sign.encode()) for sign in user)
    return TEMPLATE.format(user=value)


class Directory:
    """A directory with those of :data:`PASSCODES`, on 127.0.0.1, by ``ldap`` and by ``ldaps``, its two addresses.

    ``names`` are those in its certificate, by its own CA in ``ca``; without any it has none. ``options`` are lines of
    slapd.conf. It may be stopped, and started again as it was.
    """

    def __init__(self, names: Sequence[str] = ("localhost", "127.0.0.1"), options: str = ""):
        self._names = names
        self._options = options
        self._ports = free_port(), free_port()
        self.ldap = f"ldap://127.0.0.1:{self._ports[0]}"
        self.ldaps = f"ldaps://127.0.0.1:{self._ports[1]}"

    def __enter__(self) -> Self:
        program("slapd")
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="directory-")))
            self.ca = self.folder / "ca.pem"
            self._configure()
            self.start()
            stack.callback(self.stop)
            self._fill()
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def start(self) -> None:
        """Serve, which it does when this returns."""
        addresses = f"{self.ldap}/ {self.ldaps}/" if self._names else f"{self.ldap}/"
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [program("slapd"), "-d", "0", "-f", self.folder / "slapd.conf", "-h", addresses],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        with ExitStack() as stack:
            stack.callback(self.stop)
            for port in self._ports[: 2 if self._names else 1]:
                wait_for_port(port, self._process)
            stack.pop_all()

    def stop(self) -> None:
        """Serve no more, until it is started again."""
        stop(self._process)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile it takes connections, and says nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _configure(self) -> None:
        if self._names:
            authority = trustme.CA()
            certificate = authority.issue_cert(*self._names)
            authority.cert_pem.write_to_path(self.ca)
            certificate.private_key_pem.write_to_path(self.folder / "key.pem")
            certificate.cert_chain_pems[0].write_to_path(self.folder / "certificate.pem")
        facts = {
            "folder": self.folder,
            "schema": _first("/etc/ldap/schema", "/etc/openldap/schema"),
            "modules": _first("/usr/lib/ldap", "/usr/lib64/openldap", "/usr/lib/openldap"),
            "suffix": SUFFIX,
            "people": PEOPLE,
            "options": (_TLS.format(folder=self.folder) if self._names else "") + self._options,
        }
        (self.folder / "slapd.conf").write_text(_CONFIGURATION.format(**facts))

    def _fill(self) -> None:
        entries = [f"dn: {SUFFIX}\nobjectClass: domain\ndc: hospital\n"]
        entries += [
            f"dn: ou={name},{SUFFIX}\nobjectClass: organizationalUnit\nou: {name}\n" for name in ("people", "groups")
        ]
        entries += [
            f"dn: {dn(user)}\nobjectClass: inetOrgPerson\ncn: somebody\nsn: somebody\n"
            f"employeeType: {EMPLOYEE_TYPE}\nuserPassword: {passcode}\n"
            for user, passcode in PASSCODES.items()
        ]
        entries.append(f"dn: {dn('nologin')}\nobjectClass: inetOrgPerson\ncn: somebody\nsn: somebody\n")
        entries += [
            f"dn: {group}\nobjectClass: groupOfNames\n" + "".join(f"member: {dn(user)}\n" for user in users)
            for group, users in GROUPS.items()
        ]
        address = self.ldaps if self._names else self.ldap
        subprocess.run(
            [program("ldapadd"), "-x", "-H", address, "-D", f"cn=admin,{SUFFIX}", "-w", "admin"],
            env={**os.environ, "LDAPTLS_REQCERT": "never"},
            input="\n".join(entries),
            text=True,
            stdout=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=True,
        )
