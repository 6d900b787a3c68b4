"""Whatever is wrong with a file of TLS is said before a peer finds out; and whom a certificate names is never mistaken."""

from __future__ import annotations

import base64
import datetime as dt
import os
import re
import socket
import ssl
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import pytest
from components.authority import LONG_AGO, NEXT_YEAR, NOW, TOMORROW, YESTERDAY, Authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import SettingError
from scpd.transport.certificate_names import LONGEST_NAME, MOST_NAMES, names
from scpd.transport.certificates import days_left, faults, warnings
from scpd.transport.profiles import TLSFiles, client_context, server_context

SECRET = "correct horse"  # noqa: S105
SIDES = pytest.mark.parametrize("side", ["server", "client"])


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def of(issued, **how) -> TLSFiles:
    return TLSFiles(**{"certificate": issued.certificate, "key": issued.key, **how})


def found(files, now=NOW, side="server"):
    return list(faults(files, now, side))


def warned(files, now=NOW, side="server"):
    return list(warnings(files, now, side))


def written(folder, name, *contents):
    path = folder / name
    path.write_bytes(b"\n".join(one if isinstance(one, bytes) else one.read_bytes() for one in contents))
    return path


# -- nothing wrong


@SIDES
@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "ed25519", "ed448"])
def test_good_files_have_neither_faults_nor_warnings(authority, kind, side):
    issued = authority.issue("pacs.example", alternatives=("DNS:pacs.example",), kind=kind)
    files = of(issued, ca=authority.certificate, crl=authority.revocation_list())
    assert found(files, side=side) == warned(files, side=side) == []


def test_good_chain_with_its_key_in_one_file(authority):
    issued = authority.intermediate().server("pacs.example")
    assert found(TLSFiles(issued.together)) == warned(TLSFiles(issued.together)) == []


def test_client_needs_no_file_at_all():
    assert found(TLSFiles(), side="client") == warned(TLSFiles(), side="client") == []


def test_certificate_without_extended_key_usage_is_for_everything(authority):
    issued = authority.issue("pacs.example", alternatives=("DNS:pacs.example",), use="any")
    assert warned(of(issued)) == warned(of(issued), side="client") == []


@pytest.mark.parametrize("traditional", [False, True], ids=["pkcs8", "traditional"])
def test_encrypted_key_with_its_password(authority, traditional):
    issued = authority.server()
    files = of(issued, key=issued.key_file(password=SECRET, traditional=traditional), key_password=SECRET)
    assert found(files) == warned(files) == []


# -- files that cannot be read


@pytest.mark.parametrize("key", ["certificate", "key", "ca", "crl"])
def test_file_that_is_missing(authority, key):
    gone = authority.folder / "gone.pem"
    files = of(authority.server(), **{"ca": authority.certificate, key: gone})
    assert found(files) == [(key, f"{gone} does not exist; correct the path, or put the file there")]
    assert warned(files) == []


@contextmanager
def nobody():
    """Root reads everything, so be somebody else for a while."""
    mine = os.geteuid()
    os.seteuid(65534 if mine == 0 else mine)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.mark.parametrize("key", ["certificate", "key", "ca", "crl"])
def test_file_that_may_not_be_read(authority, tmp_path_factory, key):
    issued, crl = authority.server(), authority.revocation_list()
    files = of(issued, ca=authority.certificate, crl=crl)
    path = getattr(files, key)
    path.chmod(0)
    with nobody():
        all_of_them = found(files)
    assert (key, f"{path} cannot be read: Permission denied; see to its path and mode") in all_of_them


def test_directory(authority):
    files = of(authority.server(), ca=authority.folder)
    assert found(files) == [("ca", f"{authority.folder} cannot be read: Is a directory; see to its path and mode")]


@pytest.mark.parametrize("key", ["certificate", "key", "ca", "crl"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"-----BEGIN CERTIFICATE-----\n", b"\xff" * 100])
def test_file_with_nothing_of_use_in_it(authority, key, content):
    other = written(authority.folder, "other.pem", content)
    other.chmod(0o600)
    kind = {"key": "private key", "crl": "revocation list"}.get(key, "certificate")
    files = of(authority.server(), **{"ca": authority.certificate, key: other})
    assert found(files) == [(key, f"{other} holds no {kind} in PEM form; name the file that has it")]


def test_certificate_where_the_key_should_be(authority):
    issued = authority.server()
    what = f"{issued.certificate} holds no private key in PEM form; name the file that has it"
    assert found(TLSFiles(issued.certificate)) == [("key", what)]


def test_der_is_told_from_nothing(authority):
    issued = authority.server()
    path = issued.der()
    how = f"convert it: openssl x509 -inform DER -in {path} -out {path}.pem"
    assert found(of(issued, ca=path)) == [("ca", f"{path} is in DER form, and PEM is needed; {how}")]


@pytest.mark.parametrize("key", ["certificate", "key", "ca", "crl"])
def test_file_that_is_damaged(authority, key):
    label = {"key": "PRIVATE KEY", "crl": "X509 CRL"}.get(key, "CERTIFICATE")
    kind = {"key": "private key", "crl": "revocation list"}.get(key, "certificate")
    bad = written(authority.folder, "bad.pem", f"-----BEGIN {label}-----\nMIIBAAAA\n-----END {label}-----\n".encode())
    bad.chmod(0o600)
    files = of(authority.server(), **{"ca": authority.certificate, key: bad})
    assert found(files) == [(key, f"a {kind} in {bad} is damaged; get the file again")]


def test_every_fault_is_told_at_once(authority):
    gone = authority.folder / "gone"
    files = TLSFiles(gone / "1", gone / "2", None, gone / "3", gone / "4")
    assert [key for key, _ in found(files)] == ["certificate", "key", "ca", "crl"]


def test_server_without_a_certificate():
    assert found(TLSFiles()) == [("certificate", "a server shows a certificate; name its file")]


@SIDES
def test_key_without_a_certificate(authority, side):
    files = TLSFiles(key=authority.server().key)
    assert found(files, side=side) == [("certificate", "no certificate is named; name its file")]


# -- the certificate


@SIDES
def test_certificate_that_has_expired(authority, side):
    issued = authority.issue("pacs.example", alternatives=("DNS:pacs.example",), ends=YESTERDAY)
    what = f"{issued.certificate} expired on {YESTERDAY:%Y-%m-%d}; renew it"
    assert found(of(issued), side=side) == [("certificate", what)]
    assert warned(of(issued), side=side) == []
    assert found(of(issued), now=YESTERDAY - dt.timedelta(days=9), side=side) == []


def test_certificate_that_is_not_yet_valid(authority):
    issued = authority.server(begins=TOMORROW)
    what = f"{issued.certificate} is not valid before {TOMORROW:%Y-%m-%d %H:%M} UTC; wait, or set this machine's clock"
    assert found(of(issued)) == [("certificate", what)]
    assert found(of(issued), now=TOMORROW + dt.timedelta(seconds=1)) == []


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (29.9, "expires in 29 days"),
        (12.5, "expires in 12 days"),
        (2.5, "expires in 2 days"),
        (1.5, "expires within 2 days"),
        (0.1, "expires within 1 day"),
    ],
)
def test_certificate_that_expires_soon(authority, days, words):
    issued = authority.server()
    ends = issued.x509.not_valid_after_utc
    what = f"{issued.certificate} {words}, on {ends:%Y-%m-%d}; renew it"
    assert warned(of(issued), now=ends - dt.timedelta(days=days)) == [("certificate", what)]
    assert found(of(issued), now=ends - dt.timedelta(days=days)) == []


def test_certificate_that_does_not_expire_soon(authority):
    issued = authority.server()
    assert warned(of(issued), now=issued.x509.not_valid_after_utc - dt.timedelta(days=30.1)) == []


@pytest.mark.parametrize("days", [400, 1.25, -3])
def test_days_left(authority, days):
    issued = authority.intermediate(ends=TOMORROW).server()
    now = issued.x509.not_valid_after_utc - dt.timedelta(days=days)
    assert days_left(issued.chain, now) == pytest.approx(days)


def test_days_left_of_what_is_no_certificate(authority):
    with pytest.raises(SettingError, match="certificate: .*holds no certificate"):
        days_left(authority.server().key, NOW)


GOOD = "make a new one, with RSA of 2048 bits or more or with P-256, signed with SHA-256 or better"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"kind": "rsa1024"}, "has an RSA key of 1024 bits"),
        ({"kind": "p192"}, "has a key on secp192r1, a curve that TLS does not use here"),
        ({"kind": "p224"}, "has a key on secp224r1, a curve that TLS does not use here"),
        ({"kind": "secp256k1"}, "has a key on secp256k1, a curve that TLS does not use here"),
        ({"kind": "dsa"}, "has a key that TLS does not use"),
        ({"digest": "sha1"}, "is signed with SHA1"),
        ({"digest": "md5"}, "is signed with MD5"),
    ],
)
def test_certificate_that_is_too_weak(tmp_path, how, words):
    authority = Authority(tmp_path, kind="rsa2048" if "digest" in how else "p256")
    issued = authority.server(**how)
    assert found(of(issued), now=TOMORROW) == [("certificate", f"{issued.certificate} {words}; {GOOD}")]


@pytest.mark.parametrize("kind", ["p224", "secp256k1", "dsa"])
def test_key_that_openssl_loads_is_of_no_use_all_the_same(authority, kind):
    """Nobody finds a cipher suite: no reason that a sysadmin could guess."""
    issued = authority.server(kind=kind)
    ours, theirs = server_context(of(issued)), client_context(TLSFiles(), verify=False)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(outgoing, incoming)
    server = ours.wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLError) as caught:
        server.do_handshake()
    assert not isinstance(caught.value, ssl.SSLWantReadError)


def test_weak_intermediate_is_named(authority):
    weak = Authority(authority.folder, "Weak CA", kind="rsa1024", issuer=authority)
    issued = weak.server()
    what = f"'CN=Weak CA' in {issued.chain} has an RSA key of 1024 bits; {GOOD}"
    assert found(of(issued, certificate=issued.chain)) == [("certificate", what)]
    assert found(of(issued)) == []


def test_root_in_the_chain_is_not_judged_by_its_own_signature(authority, tmp_path):
    """Nor is it by OpenSSL: a root is trusted, or it is not."""
    root, issued = tmp_path / "root.pem", authority.server()
    make = ["openssl", "req", "-x509", "-sha1", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Old Root", "-out", root]
    subprocess.run([*make, "-keyout", os.devnull], capture_output=True, timeout=20, check=True)
    assert x509.load_pem_x509_certificate(root.read_bytes()).signature_hash_algorithm.name == "sha1"
    chain = written(tmp_path, "chain.pem", issued.certificate, root)
    assert found(of(issued, certificate=chain), now=TOMORROW) == []


def test_certificate_for_the_other_purpose(authority):
    server, client = authority.server(), authority.client()
    words = "is not for {}: its extended key usage has no {}, and {} will refuse it; have one made with it"
    assert warned(of(client)) == [
        ("certificate", f"{client.certificate} {words.format('servers', 'serverAuth', 'clients')}")
    ]
    assert warned(of(server), side="client") == [
        ("certificate", f"{server.certificate} {words.format('clients', 'clientAuth', 'servers')}")
    ]
    assert found(of(client)) == found(of(server), side="client") == []


def test_certificate_that_may_not_sign(authority):
    issued = authority.server(signs=False)
    words = "may not sign: its key usage has no digitalSignature, and peers may refuse it; have one made with it"
    assert warned(of(issued)) == [("certificate", f"{issued.certificate} {words}")]


def test_server_without_a_host_s_name(authority):
    issued = authority.issue("pacs.example")
    [(key, what)] = warned(of(issued))
    assert key == "certificate"
    assert what.startswith(f"{issued.certificate} names no host: it has no subject alternative name")
    assert warned(of(issued), side="client") == []


def test_intermediate_that_has_expired_or_will(authority):
    old = authority.intermediate(ends=YESTERDAY).server()
    what = f"'CN=Test Intermediate CA' in {old.chain} expired on {YESTERDAY:%Y-%m-%d}; replace it"
    assert warned(of(old, certificate=old.chain)) == [("certificate", what)]
    soon = NOW + dt.timedelta(days=5.5)
    aging = authority.intermediate(ends=soon).server()
    what = f"'CN=Test Intermediate CA' in {aging.chain} expires in 5 days, on {soon:%Y-%m-%d}; replace it"
    assert warned(of(aging, certificate=aging.chain)) == [("certificate", what)]


def pem_blocks(path) -> list[bytes]:
    return re.findall(rb"-----BEGIN.*?END CERTIFICATE-----", path.read_bytes(), re.DOTALL)


def test_chain_that_begins_with_the_issuer(authority):
    issued = authority.intermediate().server()
    turned = written(authority.folder, "turned.pem", *reversed(pem_blocks(issued.chain)))
    what = f"{turned} begins with another certificate than that of {issued.key}; put that one first"
    assert found(of(issued, certificate=turned)) == [("certificate", what)]


# -- the key


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_key_of_another_certificate(authority, kind):
    issued, other = authority.server(), authority.server(kind=kind)
    what = f"{other.key} does not belong to {issued.certificate}; name the key that the certificate was made with"
    assert found(of(issued, key=other.key)) == [("key", what)]


@pytest.mark.parametrize("traditional", [False, True], ids=["pkcs8", "traditional"])
def test_encrypted_key_without_its_password(authority, traditional):
    issued = authority.server()
    path = issued.key_file(password=SECRET, traditional=traditional)
    without, wrong = of(issued, key=path), of(issued, key=path, key_password="battery staple")
    what = f"{path} is encrypted; name its password, or take the encryption off"
    assert found(without) == [("key_password", what)]
    what = f"the password does not open {path}; name the one that the key was encrypted with"
    assert found(wrong) == found(replace(wrong, key_password="")) == [("key_password", what)]
    assert warned(without) == warned(wrong) == []


def test_key_of_a_kind_that_openssl_alone_knows(authority):
    issued, path = authority.server(), authority.folder / "odd.key"
    make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime239v1", "-out", path]
    subprocess.run(make, capture_output=True, timeout=20, check=True)
    path.chmod(0o600)
    what = f"{path} does not belong to {issued.certificate}; name the key that the certificate was made with"
    assert found(of(issued, key=path)) == [("key", what)]


def test_certificate_with_a_key_of_a_kind_that_openssl_alone_knows(tmp_path):
    certificate, key = tmp_path / "odd.crt", tmp_path / "odd.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime239v1", "-nodes"]
    make += ["-subj", "/CN=x", "-out", certificate, "-keyout", key]
    subprocess.run(make, capture_output=True, timeout=20, check=True)
    [(key, what)] = found(TLSFiles(certificate, key), now=TOMORROW)
    assert (key, what) == ("certificate", f"{certificate} has a key that TLS does not use; {GOOD}")


@pytest.mark.parametrize("cipher", ["camellia128", "aria128"])
def test_key_that_is_encrypted_in_a_way_that_openssl_alone_knows(authority, cipher):
    issued, path = authority.server(), authority.folder / "odd.key"
    make = ["openssl", "pkcs8", "-topk8", "-v2", cipher, "-in", issued.key, "-out", path, "-passout", f"pass:{SECRET}"]
    subprocess.run(make, capture_output=True, timeout=20, check=True)
    assert found(of(issued, key=path, key_password=SECRET)) == []
    what = f"the password does not open {path}; name the one that the key was encrypted with"
    assert found(of(issued, key=path, key_password="wrong")) == [("key_password", what)]


def test_certificate_of_a_version_to_come(authority):
    issued = authority.server()
    der = issued.x509.public_bytes(serialization.Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")
    path = written(authority.folder, "new.crt", ssl.DER_cert_to_PEM_cert(der).encode())
    what = f"a certificate in {path} is damaged; get the file again"
    assert found(of(issued, certificate=path)) == [("certificate", what)]


def test_password_that_is_not_needed(authority):
    issued = authority.server()
    files = of(issued, key_password=SECRET)
    what = f"{issued.key} is not encrypted; leave the password out, or encrypt it"
    assert warned(files) == [("key_password", what)]
    assert found(files) == []


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o666])
def test_key_that_everybody_can_read(authority, mode):
    issued = authority.server()
    path = issued.key_file(mode=mode)
    what = f"{path} is readable by every user of this machine; chmod 640 {path}"
    assert found(of(issued, key=path)) == [("key", what)]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o660])
def test_key_that_few_can_read(authority, mode):
    issued = authority.server()
    assert found(of(issued, key=issued.key_file(mode=mode))) == []


def test_key_in_the_certificate_s_file_that_everybody_can_read(authority):
    path = authority.server().together
    path.chmod(0o644)
    assert found(TLSFiles(path)) == [("key", f"{path} is readable by every user of this machine; chmod 640 {path}")]


def test_key_is_judged_where_a_link_leads(authority):
    issued = authority.server()
    link = authority.folder / "link.key"
    link.symlink_to(issued.key_file(mode=0o644))
    assert [key for key, _ in found(of(issued, key=link))] == ["key"]


# -- the CAs


def test_file_without_a_ca(authority):
    issued = authority.server()
    what = f"{issued.certificate} holds no certificate of a CA; name the file of the CA that signs those of the peers"
    assert found(of(issued, ca=issued.certificate)) == [("ca", what)]


def test_ca_that_does_not_say_so(authority):
    """Old roots do not, and a device may have signed its own certificate: it is trusted as it stands."""
    old = Authority(authority.folder, "Old Root", is_ca=None)
    assert found(of(authority.server(), ca=old.certificate)) == []


def test_certificate_of_a_peer_among_the_cas(authority):
    device = authority.client()
    both = written(authority.folder, "both.pem", authority.certificate, device.certificate)
    words = "is no CA, and counts for its own peer alone; take it out, or leave it if that is meant"
    assert warned(of(authority.server(), ca=both)) == [("ca", f"'CN=ct1.example' in {both} {words}")]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"ends": YESTERDAY}, f"expired on {YESTERDAY:%Y-%m-%d}; put the new one in"),
        (
            {"ends": NOW + dt.timedelta(days=12.5)},
            f"expires in 12 days, on {NOW + dt.timedelta(days=12.5):%Y-%m-%d}; put the new one in",
        ),
        ({"begins": TOMORROW}, f"is not valid before {TOMORROW:%Y-%m-%d}; whom it signed is refused"),
        ({"kind": "rsa1024"}, "has an RSA key of 1024 bits, so whom it signed is refused; put a better one in"),
    ],
    ids=["expired", "expires soon", "not yet valid", "weak"],
)
def test_ca_that_is_of_no_use(authority, how, words):
    bad = Authority(authority.folder, "Bad CA", **how)
    both = written(authority.folder, "both.pem", authority.certificate, bad.certificate)
    files = of(authority.server(), ca=both)
    assert warned(files) == [("ca", f"'CN=Bad CA' in {both} {words}")]
    assert found(files) == []


# -- the revocation lists


def test_revocation_list_that_has_ended(authority):
    """Every peer would be refused, and nobody told why."""
    crl = authority.revocation_list(ends=YESTERDAY)
    files = of(authority.server(), ca=authority.certificate, crl=crl)
    words = f"ended on {YESTERDAY:%Y-%m-%d}, so every peer with a certificate of that CA is refused; get the new one"
    assert found(files) == [("crl", f"the revocation list of 'CN=Test CA' in {crl} {words}")]


def test_revocation_list_that_has_not_begun(authority):
    crl = authority.revocation_list(begins=TOMORROW)
    files = of(authority.server(), ca=authority.certificate, crl=crl)
    words = f"is not valid before {TOMORROW:%Y-%m-%d %H:%M} UTC; set this machine's clock"
    assert found(files) == [("crl", f"the revocation list of 'CN=Test CA' in {crl} {words}")]


@pytest.mark.parametrize("turned", [False, True], ids=["added", "put in front"])
@pytest.mark.parametrize("other", [{"ends": YESTERDAY}, {"begins": TOMORROW}], ids=["ended", "not begun"])
def test_list_that_is_out_of_force_does_no_harm_beside_one_that_is_in_force(authority, other, turned):
    """OpenSSL takes the one that is."""
    device, lost = authority.client(), authority.client()
    lists = [authority.revocation_list(**other)]
    authority.revoke(lost)
    lists.append(authority.revocation_list())
    both = written(authority.folder, "both.crl", *(reversed(lists) if turned else lists))
    assert found(of(authority.server(), ca=authority.certificate, crl=both)) == []
    assert seen(authority, device, crl=both)
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        seen(authority, lost, crl=both)


def test_list_that_is_out_of_force_is_not_made_good_by_that_of_another_ca(authority):
    other = Authority(authority.folder, "Another CA")
    lists = (authority.revocation_list(ends=YESTERDAY), other.revocation_list())
    both = written(authority.folder, "both.crl", *lists)
    cas = written(authority.folder, "both.pem", authority.certificate, other.certificate)
    [(key, what)] = found(of(authority.server(), ca=cas, crl=both))
    assert key == "crl"
    assert f"the revocation list of 'CN=Test CA' in {both} ended on" in what


def test_list_that_is_out_of_force_is_not_made_good_by_that_of_the_same_ca_with_another_key(authority):
    """Peers whose certificates the older key signed are refused."""
    renewed = Authority(authority.folder)
    lists = (with_key_identifier(authority, ends=YESTERDAY), with_key_identifier(renewed, ends=NEXT_YEAR))
    both = written(authority.folder, "both.crl", *lists)
    cas = written(authority.folder, "both.pem", authority.certificate, renewed.certificate)
    assert [key for key, _ in found(of(authority.server(), ca=cas, crl=both))] == ["crl"]


def with_key_identifier(authority, ends) -> bytes:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority._private.public_key())
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority._subject).next_update(ends)
    builder = builder.last_update(LONG_AGO).add_extension(identifier, critical=False)
    return builder.sign(authority._private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_revocation_list_of_another_ca(authority):
    other = Authority(authority.folder, "Another CA")
    crl = other.revocation_list()
    files = of(authority.server(), ca=authority.certificate, crl=crl)
    words = f"counts for no CA in {authority.certificate}; name that CA there, or get the list of one that is"
    assert warned(files) == [("crl", f"the revocation list of 'CN=Another CA' in {crl} {words}")]
    assert found(files) == []


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519"])
def test_revocation_list_with_the_signature_of_another(authority, kind):
    """As after a CA has got a new key and kept its name."""
    renewed = Authority(authority.folder, kind=kind)
    crl = authority.revocation_list()
    files = of(authority.server(), ca=renewed.certificate, crl=crl)
    words = f"is not signed by that CA as it stands in {renewed.certificate}; get the list and the CA anew"
    assert found(files) == [("crl", f"the revocation list of 'CN=Test CA' in {crl} {words}")]
    both = written(authority.folder, "both.pem", renewed.certificate, authority.certificate)
    assert found(replace(files, ca=both)) == []


def test_names_of_a_ca_are_compared_as_openssl_does(authority):
    other = Authority(authority.folder, "test  ca")
    files = of(authority.server(), ca=authority.certificate, crl=other.revocation_list())
    assert [key for key, _ in found(files)] == ["crl"]
    assert warned(files) == []


def test_revocation_list_without_a_ca(authority):
    files = of(authority.server(), crl=authority.revocation_list())
    what = "no CA is named that certificates of clients must be signed by; name its file"
    assert found(files) == [("ca", what)]
    assert found(replace(files, certificate=None, key=None), side="client") == []


def test_certificate_among_the_revocation_lists(authority):
    mixed = written(authority.folder, "mixed.pem", authority.revocation_list(), authority.certificate)
    what = f"{mixed} holds a certificate besides its revocation lists; take it out, and name CAs in ca"
    assert found(of(authority.server(), ca=authority.certificate, crl=mixed)) == [("crl", what)]


# -- hostile files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A set of files, and what each of them holds."""
    authority = Authority(tmp_path_factory.mktemp("whole"))
    issued = authority.intermediate().issue("pacs.example", alternatives=("DNS:pacs.example", "IP:10.1.2.3"))
    authority.revoke(issued)
    key, crl = issued.key_file(password=SECRET), authority.revocation_list()
    files = TLSFiles(issued.chain, key, SECRET, authority.certificate, crl)
    assert found(files) == warned(files) == []
    return files


def blocks(path) -> list[tuple[bytes, bytes]]:
    found = re.findall(rb"-----BEGIN ([A-Z0-9 ]+)-----\n(.*?)-----END", path.read_bytes(), re.DOTALL)
    return [(label, base64.b64decode(body)) for label, body in found]


@pytest.mark.parametrize("key", ["certificate", "key", "ca", "crl"])
@given(data=st.data())
def test_damage_is_a_fault_and_no_surprise(whole, key, data):
    """Whatever byte is wrong: sentences, or a context."""
    content = b""
    for label, der in blocks(getattr(whole, key)):
        place = data.draw(st.integers(0, len(der) - 1))
        damage = data.draw(st.binary(max_size=2))
        turned = base64.encodebytes(der[:place] + damage + der[place + 1 :])
        content += b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, turned, label)
    bad = written(whole.ca.parent, "bad.pem", content)
    bad.chmod(0o600)
    files = replace(whole, **{key: bad})
    warned(files)
    assert found(files) or server_context(files, client="required")


# -- both ways: what has no fault makes a context, and what makes none has one


@SIDES
def test_without_a_fault_there_is_a_context(authority, side):
    make = {"server": server_context, "client": client_context}[side]
    plain, other = authority.issue("pacs.example"), authority.issue("other.example")
    weak, encrypted = authority.issue("weak.example", kind="rsa1024"), plain.key_file(password=SECRET)
    cases = [
        TLSFiles(),
        *(of(plain, key=key) for key in (plain.key, other.key, encrypted, authority.certificate, None)),
        *(of(plain, key=encrypted, key_password=one) for one in (SECRET, "wrong", "x" * 2000)),
        *(of(plain, ca=ca) for ca in (authority.certificate, plain.key, authority.folder)),
        *(of(plain, ca=authority.certificate, crl=crl) for crl in (authority.revocation_list(), plain.certificate)),
        *(of(weak), of(authority.issue("x", digest="sha1"))),
    ]
    for files in cases:
        assert {made(make, files)} - {None} <= {key for key, _ in found(files, TOMORROW, side)}, files
        assert (made(make, files) is None) == (not found(files, TOMORROW, side)), files


def made(make, files) -> str | None:
    """The key that is at fault, or None."""
    try:
        make(files)
    except SettingError as error:
        return error.key
    return None


def test_no_password_is_ever_told(authority):
    issued = authority.server()
    files = of(issued, key=issued.key_file(password="x"), key_password=SECRET)
    assert SECRET not in repr(files) + repr(found(files)) + repr(warned(files))


# -- whom a certificate names


def seen(authority, issued, **more) -> dict:
    """What ssl gives of a client's certificate."""
    ours = server_context(of(authority.server(), ca=authority.certificate, **more), client="required")
    theirs = client_context(of(issued), verify=False)
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(20)
        far.settimeout(20)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = theirs.wrap_bio(outgoing, incoming)
        server = ours.wrap_bio(incoming, outgoing, server_side=True)
        for one in (client, server, client, server):
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                continue
        return server.getpeercert()


def test_names_of_a_real_certificate(authority):
    subject = (
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, "Universitätsklinikum"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Radiology, CT"),
        (NameOID.DOMAIN_COMPONENT, "hospital"),
        (NameOID.COMMON_NAME, "ct1.hospital.example"),
        (NameOID.SERIAL_NUMBER, "4711"),
        (NameOID.EMAIL_ADDRESS, "ct@hospital.example"),
        (x509.ObjectIdentifier("1.2.3.4"), "unheard of"),
    )
    alternatives = ("DNS:ct1.hospital.example", "IP:10.1.2.3", "IP:2001:db8::1", "URI:urn:dev:1", "email:a@b.example")
    issued = authority.issue(subject, alternatives=alternatives)
    assert names(seen(authority, issued)) == (
        "C=DE",
        "O=Universitätsklinikum",
        "OU=Radiology, CT",
        "DC=hospital",
        "CN=ct1.hospital.example",
        "serialNumber=4711",
        "emailAddress=ct@hospital.example",
        "1.2.3.4=unheard of",
        *alternatives,
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x,CN=pacs.example", "CN=x,CN=pacs.example"),
        ("x\nCN=pacs.example", r"CN=x\nCN=pacs.example"),
        ("pacs.example\0.evil.example", r"CN=pacs.example\x00.evil.example"),
        ("pacs\u202eelpmaxe", r"CN=pacs\u202eelpmaxe"),
        ("a\\x00", r"CN=a\\x00"),
        ("DNS:pacs.example", "CN=DNS:pacs.example"),
    ],
)
def test_name_that_pretends_to_be_another(authority, name, text):
    assert names(seen(authority, authority.client(name, alternatives=()))) == (text,)


@pytest.mark.parametrize("nothing", [None, {}, {"subject": ()}])
def test_no_certificate_has_no_names(nothing):
    assert names(nothing) == ()


def test_names_are_bounded():
    many = tuple(("DNS", f"{number}.example") for number in range(1000))
    assert len(names({"subject": ((("commonName", "x"),),), "subjectAltName": many})) == MOST_NAMES
    [cut] = names({"subject": ((("commonName", "x" * 100_000),),)})
    assert len(cut) == LONGEST_NAME
    assert cut.endswith("x…")


def test_only_a_name_that_was_cut_ends_as_one():
    assert names({"subject": ((("commonName", "ct…"),),)}) == (r"CN=ct\u2026",)


def test_kinds_of_alternative_names_that_no_rule_can_mean_are_left_out():
    others = (("DirName", ((("commonName", "pacs.example"),),)), ("othername", "<unsupported>"), ("Registered ID", "1"))
    assert names({"subjectAltName": (*others, ("IP Address", "<invalid>"))}) == ("IP:<invalid>",)


SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "domainComponent": "DC",
}
# What somebody might write who wants to be taken for somebody else.
TRICKS = st.lists(st.sampled_from([",", "=", "CN", "O", "DNS:", "\\", "\n", "\0", "x", "…", "+", "/", " ", "\u2028"]))
VALUES = st.one_of(st.text(max_size=300), TRICKS.map("".join))
KINDS = st.one_of(
    st.sampled_from([*SHORT, "emailAddress", "serialNumber", "CN", "O", "CN=x", "DNS:x", "1.2.3"]), st.text()
)
SUBJECTS = st.lists(st.lists(st.tuples(KINDS, VALUES), max_size=3), max_size=5)
ALTERNATIVES = st.lists(st.tuples(st.sampled_from(["DNS", "URI", "email", "IP Address", "DirName", "CN"]), VALUES))


def unescaped(text: str) -> str:
    """The value again, as only one reading allows."""
    return re.sub(
        r"\\(\\|[nrt]|x..|u....|U........)", lambda one: one[0].encode("ascii").decode("unicode_escape"), text
    )


@given(SUBJECTS, ALTERNATIVES)
def test_no_value_imitates_another_attribute(subject, alternatives):
    """Each text says one kind, and one value of that kind which is in the certificate: nothing else ever reads so."""
    there = {(SHORT.get(kind, kind) + "=", value) for relative in subject for kind, value in relative}
    there -= {(label, value) for label, value in there if label[:-1] in SHORT.values()}
    there |= {(SHORT[kind] + "=", value) for relative in subject for kind, value in relative if kind in SHORT}
    there |= {(kind.removesuffix(" Address") + ":", value) for kind, value in alternatives if kind != "DirName"}
    for text in names({"subject": subject, "subjectAltName": alternatives}):
        assert text.isprintable()
        assert len(text) <= LONGEST_NAME
        label, value = re.fullmatch(r"([^=:]+[=:])(.*)", text).groups()
        if text.endswith("…"):
            assert any(kind == label and unescaped_start(value[:-1], whole) for kind, whole in there)
        else:
            assert (label, unescaped(value)) in there or label == "IP:"


def unescaped_start(cut: str, whole: str) -> bool:
    """Whether a text that may end inside of an escape is the beginning of ``whole``."""
    return any(whole.startswith(unescaped(cut[: len(cut) - less])) and less <= 10 for less in range(11))


@given(VALUES, VALUES)
def test_two_values_never_get_one_text(one, other):
    if len(one) + len(other) < 50 and one != other:
        assert names({"subject": [[("commonName", one)]]}) != names({"subject": [[("commonName", other)]]})


@given(VALUES)
def test_only_a_common_name_is_a_common_name(value):
    everything_else = {
        "subject": [[(kind, value)] for kind in ("organizationName", "emailAddress", "CN", "CN=x", value)],
        "subjectAltName": [(kind, value) for kind in ("DNS", "URI", "email", "DirName", "IP Address")],
    }
    if value not in SHORT:
        assert not [text for text in names(everything_else) if text.startswith("CN=")]


def test_dates_of_the_authority_are_what_they_are_called():
    assert LONG_AGO < YESTERDAY < NOW < TOMORROW < NEXT_YEAR
