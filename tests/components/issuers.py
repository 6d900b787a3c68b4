"""Who issues identities: JSON Web Tokens and their key set, served over real HTTP; SAML assertions, signed by xmlsec1.

- ``with TokenIssuer() as issuer:`` serves ``issuer.url``; ``issuer.token(sub="alice")`` is a token
- ``AssertionIssuer(folder)``: ``issuer.assertion(name="alice")`` is a signed assertion, ``issuer.certificate`` its file

None of this uses a library that the product verifies with: tokens are signed by joserfc, assertions by xmlsec1.
"""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

PATIENCE = 20.0
SHA_256 = hashes.SHA256()
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
DS = "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = DS + "enveloped-signature"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


def new_key(algorithm: str = "RS256", kid: str | None = None):
    """A key of joserfc that signs with ``algorithm``; its ID is in the key set, and in tokens, unless it is None."""
    parameters = {} if kid is None else {"kid": kid}
    if algorithm[:2] in ("RS", "PS"):
        return RSAKey.generate_key(2048, parameters)
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519", parameters)
    if algorithm.startswith("HS"):
        return OctKey.generate_key(256, parameters)
    return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm], parameters)


class TokenIssuer:
    """Signs tokens with its keys, and serves the public ones. ``requests`` counts who asked.

    ``answer`` replaces the answer of the server by a function of its request handler; ``tls`` is a context for https.
    """

    def __init__(
        self,
        issuer: str = "https://idp.example",
        audience: str = "scpd",
        algorithm: str = "RS256",
        *,
        key=None,
        tls: ssl.SSLContext | None = None,
    ):
        self.issuer = issuer
        self.audience = audience
        self.algorithm = algorithm
        self.keys = [key or new_key(algorithm, "key-1")]
        self.requests = 0
        self.answer: Any = None
        self._tls = tls
        self._server: ThreadingHTTPServer | None = None
        self._changed = threading.Condition()

    def claims(self, now: float | None = None, **changes: Any) -> dict[str, Any]:
        """Good ones, with ``changes``; what is changed to None is left out."""
        now = int(time.time() if now is None else now)
        usual = {"iss": self.issuer, "aud": self.audience, "sub": "alice", "iat": now, "nbf": now, "exp": now + 300}
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(
        self, now: float | None = None, *, header: dict[str, Any] | None = None, key=None, **changes: Any
    ) -> bytes:
        """A token signed by the first key, or by ``key``."""
        return self.sign(json.dumps(self.claims(now, **changes)).encode(), header=header, key=key)

    def sign(self, payload: bytes, *, header: dict[str, Any] | None = None, key=None) -> bytes:
        """Any payload as a signed token; a header of None is left out."""
        key = key or self.keys[0]
        usual = {"alg": self.algorithm, "typ": "JWT"} | ({"kid": key.kid} if key.kid else {})
        protected = {name: value for name, value in (usual | (header or {})).items() if value is not None}
        return sign(protected, payload, key)

    def rotate(self, kid: str) -> None:
        """Sign with a new key from now on, and serve no other."""
        self.keys = [new_key(self.algorithm, kid)]

    def key_set(self, *more: dict[str, Any]) -> bytes:
        """The public keys as a JWKS, and ``more`` entries."""
        return json.dumps({"keys": [*(key.as_dict(private=False) for key in self.keys), *more]}).encode()

    def write(self, path: Path, *more: dict[str, Any]) -> Path:
        """The JWKS as a file, put in place at once."""
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(self.key_set(*more))
        return beside.replace(path)

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}/keys"

    def wait_for_requests(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.requests >= count, PATIENCE), f"{self.requests} requests came"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int = 0) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer._serve(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # who asks may have gone
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        if self._tls:
            # The handshake is left to the thread that serves the connection.
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="issuer")
        self._thread.start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._thread.join(PATIENCE)
            self._server.server_close()
            self._server = None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        with self._changed:
            self.requests += 1
            self._changed.notify_all()
        if self.answer:
            self.answer(handler)
            return
        body = self.key_set()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/jwk-set+json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


def encoded(part: bytes | dict[str, Any]) -> bytes:
    """base64url without padding, of bytes or JSON (RFC 7515 2)."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def sign(header: dict[str, Any], payload: bytes, key) -> bytes:
    """A compact JWS with any header, which joserfc by itself would not let through."""
    signed = encoded(header) + b"." + encoded(payload)
    with warnings.catch_warnings(action="ignore"):  # EdDSA has a new name by now (RFC 9864)
        model = jws.JWSRegistry(algorithms=[header["alg"]]).get_alg(header["alg"])
    return signed + b"." + encoded(model.sign(signed, key))


def xmlsec1() -> str:
    """The program; without it the test is skipped, but in CI it fails."""
    found = shutil.which("xmlsec1")
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail("xmlsec1 is not installed, and in CI no peer may be missing")
    pytest.skip("xmlsec1 is not installed (Debian package xmlsec1)")


class AssertionIssuer:
    """Makes SAML 2.0 assertions, and has xmlsec1 sign them by a key and certificate of its own in ``folder``."""

    def __init__(
        self,
        folder: Path,
        issuer: str = "https://idp.example",
        audience: str = "scpd",
        *,
        curve: ec.EllipticCurve | None = None,
        days: int = 365,
        bits: int = 2048,
    ):
        self.issuer = issuer
        self.audience = audience
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, bits)
        self.pem = certificate_for(self.key, days)
        self.certificate = folder / "idp.crt"
        self.certificate.write_bytes(self.pem)
        self._private = folder / "idp.key"
        self._private.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self._numbers = itertools.count(1)

    def assertion(self, now: float | None = None, **how: Any) -> bytes:
        """A signed assertion; see :meth:`unsigned` and :func:`signature` for what may be said."""
        return self.sign(self.unsigned(now, **how))

    def response(self, *assertions: bytes, signed: str = "", extra: str = "") -> bytes:
        """A Response around ``assertions``; ``signed`` is a signature template over the Response itself."""
        inside = b"".join(assertions)
        head = f'<samlp:Response xmlns:samlp="{SAMLP}" ID="_response-{next(self._numbers)}" Version="2.0">'
        return head.encode() + signed.encode() + extra.encode() + inside + b"</samlp:Response>"

    def unsigned(
        self,
        now: float | None = None,
        *,
        name: str = "alice",
        identifier: str | None = None,
        issuer: str | None = None,
        audiences: tuple[str, ...] | None = None,
        life: float = 300.0,
        begins: float = 0.0,
        confirmation: str | None = None,
        conditions: str = "",
        statement: str = "",
        attributes: dict[str, list[str]] | None = None,
        subject: str | None = None,
        signature: str | None = None,
        window: str | None = None,
    ) -> bytes:
        """An assertion with the template of a signature in it, by :func:`signature` unless it is given, even empty.

        ``life`` and ``begins`` are seconds from ``now``; ``audiences`` are one restriction each; ``name``,
        ``confirmation``, ``conditions``, ``statement`` and ``subject`` are XML.
        """
        now = time.time() if now is None else now
        identifier = identifier or f"_assertion-{os.getpid()}-{next(self._numbers)}-{id(self)}"
        signature = signature_template(identifier, self.method) if signature is None else signature
        restrictions = "".join(
            f"<saml:AudienceRestriction><saml:Audience>{one}</saml:Audience></saml:AudienceRestriction>"
            for one in ((self.audience,) if audiences is None else audiences)
        )
        confirmation = bearer(now + life) if confirmation is None else confirmation
        subject = subject or f"<saml:NameID>{name}</saml:NameID>{confirmation}"
        window = (
            window
            if window is not None
            else f'NotBefore="{instant(now + begins)}" NotOnOrAfter="{instant(now + life)}"'
        )
        stated = "".join(
            f'<saml:Attribute Name="{key}">'
            + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
            + "</saml:Attribute>"
            for key, values in (attributes or {}).items()
        )
        return (
            f'<saml:Assertion xmlns:saml="{SAML}" ID="{identifier}" Version="2.0" IssueInstant="{instant(now + begins)}">'
            f"<saml:Issuer>{issuer or self.issuer}</saml:Issuer>{signature}"
            f"<saml:Subject>{subject}</saml:Subject>"
            f"<saml:Conditions {window}>{restrictions}{conditions}</saml:Conditions>"
            f'<saml:AuthnStatement AuthnInstant="{instant(now)}" {statement}><saml:AuthnContext><saml:AuthnContextClassRef>'
            "urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>"
            "</saml:AuthnStatement>"
            + (f"<saml:AttributeStatement>{stated}</saml:AttributeStatement>" if stated else "")
            + "</saml:Assertion>"
        ).encode()

    @property
    def method(self) -> str:
        kind = "rsa" if isinstance(self.key, rsa.RSAPrivateKey) else "ecdsa"
        return f"http://www.w3.org/2001/04/xmldsig-more#{kind}-sha256"

    def sign(self, document: bytes, *, node: str | None = None, hmac: bytes | None = None) -> bytes:
        """``document`` with its signature template filled in; the first one, or that with the ID ``node``."""
        source, target = self.folder / "template.xml", self.folder / "signed.xml"
        source.write_bytes(document)
        if hmac is None:
            key = ["--privkey-pem", f"{self._private},{self.certificate}"]
        else:
            (self.folder / "hmac.key").write_bytes(hmac)
            key = ["--hmackey", str(self.folder / "hmac.key")]
        where = ["--node-xpath", node] if node else []
        names = (f"{SAML}:Assertion", f"{SAMLP}:Response")
        ids = [part for name in names for part in ("--id-attr:ID", name)]
        done = subprocess.run(
            [xmlsec1(), "--sign", *key, *ids, *where, "--output", str(target), str(source)],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return target.read_bytes()


def signature_template(
    identifier: str | None,
    method: str = RSA_SHA256,
    *,
    digest: str = SHA256,
    transforms: tuple[str, ...] = (ENVELOPED, EXCLUSIVE),
    c14n: str = EXCLUSIVE,
    inside: str = "",
    key_info: str = "",
    references: int = 1,
) -> str:
    """A Signature (XMLDSIG) that has yet to be made, over the element with that ID, or for None over the document.

    ``inside`` is XML inside the last transform.
    """
    uri = "" if identifier is None else f"#{identifier}"
    listed = "".join(
        f'<ds:Transform Algorithm="{one}">{inside if one == transforms[-1] else ""}</ds:Transform>'
        for one in transforms
    )
    reference = (
        f'<ds:Reference URI="{uri}"><ds:Transforms>{listed}</ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference>'
    )
    return (
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}"/>'
        f'<ds:SignatureMethod Algorithm="{method}"/>{reference * references}</ds:SignedInfo>'
        f"<ds:SignatureValue/>{key_info}</ds:Signature>"
    )


def bearer(ends: float | None, recipient: str = "", more: str = "", method: str = BEARER) -> str:
    """A SubjectConfirmation."""
    limits = f'NotOnOrAfter="{instant(ends)}" ' if ends is not None else ""
    limits += f'Recipient="{recipient}" ' if recipient else ""
    data = f"<saml:SubjectConfirmationData {limits}{more}/>"
    return f'<saml:SubjectConfirmation Method="{method}">{data}</saml:SubjectConfirmation>'


def instant(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def certificate_for(key, days: int = 365, algorithm: hashes.HashAlgorithm | None = SHA_256) -> bytes:
    """A certificate of ``key`` by itself, PEM; with negative ``days`` it expired so long ago."""
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp.example")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=abs(days) + 1))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(key, algorithm)
        .public_bytes(serialization.Encoding.PEM)
    )
