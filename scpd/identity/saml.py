"""SAML 2.0 assertions (PS3.7 D.3.3.7, form 4; PS3.15 B.7), their signatures verified with signxml.

As little as can be is taken: one assertion, itself signed, in one way, by one of the configured certificates; what it
says of keys is not looked at. Everything is then read from the element that the verifier gives back, and from nothing
else. No DTD, comment or processing instruction reaches the parser.
"""

from __future__ import annotations

import base64
import datetime as dt
import heapq
import math
import re
import threading
import time
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest, SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from scpd.errors import NotVerified, SettingError, Unavailable
from scpd.identity.claim import Claim, Form, User
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_LONGEST = 0xFFFF  # what the item holds
_LARGEST_FILE = 1024 * 1024
_MOST_CERTIFICATES = 16
_MOST_ELEMENTS = 2000
_DEEPEST = 32
_MOST_ATTRIBUTES = 64  # of one element; looking at them takes the square of their number
_LONGEST_ID = 256
_LONGEST_NAME = 256
_LONGEST_QUOTE = 120
_MOST_ROLES = 512
_MOST_REMEMBERED = 50_000
_SHORTEST_RSA = 2048  # bits
_SHORTEST_CURVE = 256

_SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_RESPONSE = "{urn:oasis:names:tc:SAML:2.0:protocol}Response"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_INCLUSIVE_NAMESPACES = f"{{{_EXCLUSIVE}}}InclusiveNamespaces"

_METHODS = frozenset(
    method
    for method in SignatureMethod
    if re.fullmatch(r"(RSA|ECDSA)_SHA(256|384|512)|SHA(256|384|512)_RSA_MGF1", method.name)
)
_DIGESTS = frozenset((DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512))
_CONDITIONS = frozenset(_SAML + name for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction"))

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_DECLARATION = re.compile(
    rb"""<\?xml\s+version\s*=\s*["']1\.[0-9]["'](\s+encoding\s*=\s*["']utf-?8["'])?(\s+standalone\s*=\s*["'](yes|no)["'])?\s*\?>""",
    re.IGNORECASE,
)
_ID = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]00:00)", re.ASCII)  # SAML core 1.3.3
_UNFIT = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


class SAML:
    """Verifies assertions of ``issuer`` for ``audience``, signed by a certificate of the file ``certificate``.

    The user is the NameID, or the value of ``user_attribute``; the roles are the values of ``roles_attribute``. With
    ``recipient`` the subject confirmation has to name it. Each assertion is good for one time, unless not ``once``.
    ``leeway`` and ``longest_life`` are seconds. Raises :class:`SettingError` when the file cannot be used; when that
    happens later, the certificates that were read before stay in force and ``warning`` says so.
    """

    forms = frozenset((Form.SAML,))

    def __init__(
        self,
        issuer: str,
        certificate: Path,
        audience: str,
        *,
        recipient: str | None = None,
        user_attribute: str | None = None,
        roles_attribute: str | None = None,
        leeway: float = 30.0,
        longest_life: float = 24 * 3600.0,
        once: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._recipient = recipient
        self._user_attribute = user_attribute
        self._roles_attribute = roles_attribute
        self._leeway = leeway
        self._longest_life = longest_life
        self._once = once
        self._clock = clock
        self._signers = _Signers(certificate)
        self._taken = Taken(_MOST_REMEMBERED)
        self.warning = self._signers.warning(clock())

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`. The secondary field is ignored, and there is no response."""
        assertion = _assertion(_xml(claim.primary))
        _check_signature(assertion)
        signers = self._signers.current()
        self.warning = self._signers.warning(self._clock())
        signed = _signed(assertion, signers)
        name = self._name(signed)
        try:
            return self._judged(signed, name)
        except (NotVerified, Unavailable) as error:
            error.user = quote(name)
            raise

    def _judged(self, assertion: etree._Element, name: str) -> User:
        now = self._clock()
        issuer = _text(_one(assertion, "Issuer"))
        if issuer != self._issuer:
            raise NotVerified(_mismatch("the assertion's Issuer is", issuer, self._issuer))
        conditions = _one(assertion, "Conditions")
        self._check_audience(conditions)
        ends = self._check_life(assertion, conditions, now)
        self._check_confirmation(_one(assertion, "Subject"), now)
        for statement in assertion.findall(_SAML + "AuthnStatement"):
            self._check_time(statement, now, ends="SessionNotOnOrAfter")
        roles = self._roles(assertion)
        if self._once or conditions.find(_SAML + "OneTimeUse") is not None:
            self._taken.take(assertion.get("ID", ""), ends + self._leeway, now)
        return User(name, roles)

    def _name(self, assertion: etree._Element) -> str:
        if self._user_attribute is None:
            names = [_text(_one(_one(assertion, "Subject"), "NameID"))]
            place = "NameID"
        else:
            names = list(_values(assertion, self._user_attribute))
            place = f"attribute {quote(self._user_attribute)}"
        if len(names) != 1:
            raise NotVerified(f"the assertion's {place} has {len(names)} values instead of one")
        if not _is_name(names[0]):
            raise NotVerified(f"the assertion's {place} is no name of a user: {quote(names[0])}", quote(names[0]))
        return names[0]

    def _roles(self, assertion: etree._Element) -> frozenset[str]:
        named = self._roles_attribute
        roles = frozenset(_values(assertion, named)) if named is not None else frozenset()
        if not all(map(_is_name, roles)) or len(roles) > _MOST_ROLES:
            raise NotVerified(f"the assertion's attribute {quote(named or '')} is not at most {_MOST_ROLES} names")
        return roles

    def _check_audience(self, conditions: etree._Element) -> None:
        """By SAML core 2.5.1: a condition that is not understood does not hold, and each restriction has to name us."""
        strange = [child.tag for child in conditions if child.tag not in _CONDITIONS]
        if strange:
            raise NotVerified(f"the assertion has a condition that is not understood: {quote(strange[0])}")
        restrictions = conditions.findall(_SAML + "AudienceRestriction")
        if not restrictions:
            raise NotVerified("the assertion has no AudienceRestriction: it does not say whom it is for")
        for restriction in restrictions:
            audiences = [_text(audience) for audience in restriction.findall(_SAML + "Audience")]
            if self._audience not in audiences:
                raise NotVerified(_mismatch("the assertion is for", ", ".join(audiences), self._audience))

    def _check_life(self, assertion: etree._Element, conditions: etree._Element, now: float) -> float:
        """When it ends, in seconds since 1970."""
        issued, begins = _instant(assertion, "IssueInstant"), _instant(conditions, "NotBefore")
        if issued is None:
            raise NotVerified("the assertion has no IssueInstant")
        self._check_time(assertion, now, begins="IssueInstant")
        ends = self._check_time(conditions, now, needed=True)
        if ends - min(issued, issued if begins is None else begins) > self._longest_life:
            raise NotVerified(f"the assertion is good for longer than {self._longest_life:.0f} s")
        return ends

    def _check_confirmation(self, subject: etree._Element, now: float) -> None:
        """That whoever brings it may (SAML core 2.4.1, profiles 3.3). One confirmation that holds is enough."""
        confirmations = subject.findall(_SAML + "SubjectConfirmation")
        if not confirmations and self._recipient is not None:
            raise NotVerified("the assertion has no SubjectConfirmation, so no Recipient")
        faults = [self._fault_of_bearer(confirmation, now) for confirmation in confirmations]
        if faults and all(faults):
            raise NotVerified(faults[0])

    def _fault_of_bearer(self, confirmation: etree._Element, now: float) -> str:
        method = confirmation.get("Method", "")
        if method != _BEARER:
            return f"the assertion's confirmation is {quote(method, _LONGEST_QUOTE)}, which cannot be checked"
        try:
            data = _one(confirmation, "SubjectConfirmationData")
            self._check_time(data, now, needed=True)
        except NotVerified as error:
            return error.why
        recipient = data.get("Recipient", "")
        if self._recipient is not None and recipient != self._recipient:
            return _mismatch("the assertion's Recipient is", recipient, self._recipient)
        return ""

    def _check_time(
        self,
        element: etree._Element,
        now: float,
        begins: str = "NotBefore",
        ends: str = "NotOnOrAfter",
        *,
        needed: bool = False,
    ) -> float:
        """When it ends, or infinity."""
        place = etree.QName(element).localname
        first, end = _instant(element, begins), _instant(element, ends)
        if end is None and needed:
            raise NotVerified(f"the assertion's {place} has no {ends}")
        if first is not None and now < first - self._leeway:
            raise NotVerified(f"the assertion is not valid yet: {begins} of {place} is {first - now:.0f} s ahead")
        if end is not None and now >= end + self._leeway:
            raise NotVerified(f"the assertion expired: {ends} of {place} was {now - end:.0f} s ago")
        return math.inf if end is None else end


class Taken:
    """The IDs of assertions that were taken, each until it would not be taken anyway.

    At most ``room`` of them: when there are more, new ones are refused rather than old ones forgotten.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._ends: list[tuple[float, str]] = []

    def take(self, identifier: str, until: float, now: float) -> None:
        """Remember an ID. Raises :class:`NotVerified` when it was taken before, :class:`Unavailable` without room."""
        with self._lock:
            while self._ends and self._ends[0][0] <= now:
                self._ids.discard(heapq.heappop(self._ends)[1])
            if identifier in self._ids:
                raise NotVerified("the assertion was used before, and is good for one time")
            if len(self._ids) >= self._room:
                raise Unavailable(f"{self._room} assertions that were used are still valid; no more can be remembered")
            self._ids.add(identifier)
            heapq.heappush(self._ends, (until, identifier))


class _Signer(NamedTuple):
    certificate: x509.Certificate
    rules: SignatureConfiguration


class _Signers:
    """The certificates of a file, which is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._state = _state(path)
        self._signers = _read(path)
        self._fault = ""

    def current(self) -> tuple[_Signer, ...]:
        with self._lock:
            state = _state(self._path)
            if state != self._state:
                self._state = state
                try:
                    self._signers, self._fault = _read(self._path), ""
                except SettingError as error:
                    self._fault = f"{error.what}; the certificates that stood there before stay in force"
            return self._signers

    def warning(self, now: float) -> str:
        """What is wrong by now. Past its date a certificate still counts: it is trusted because it was configured."""
        dates = [signer.certificate.not_valid_after_utc for signer in self._signers]
        expired = [date for date in dates if date.timestamp() < now]
        past = f"{self._path} holds a certificate that expired on {expired[0]:%Y-%m-%d}" if expired else ""
        return self._fault or past


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> tuple[_Signer, ...]:
    try:
        if not path.is_file():
            raise SettingError("certificate", f"{path} is not a file; write the issuer's certificate there, PEM")
        with path.open("rb") as stream:
            certificates = x509.load_pem_x509_certificates(stream.read(_LARGEST_FILE))
    except OSError as error:
        raise SettingError("certificate", f"{path} cannot be read ({error.strerror}); let scpd read it") from None
    except ValueError:
        raise SettingError("certificate", f"{path} holds no certificate; write the issuer's there, PEM") from None
    if len(certificates) > _MOST_CERTIFICATES:
        raise SettingError("certificate", f"{path} holds more than {_MOST_CERTIFICATES}; keep the issuer's alone")
    return tuple(_signer(certificate, path) for certificate in certificates)


def _signer(certificate: x509.Certificate, path: Path) -> _Signer:
    key = certificate.public_key()
    shortest = _SHORTEST_RSA if isinstance(key, rsa.RSAPublicKey) else _SHORTEST_CURVE
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or key.key_size < shortest:
        need = f"RSA from {_SHORTEST_RSA} bits or an elliptic curve from {_SHORTEST_CURVE}"
        raise SettingError("certificate", f"{path} holds a certificate whose key cannot be used; it takes {need}")
    rules = SignatureConfiguration(
        location="./",
        signature_methods=_METHODS,
        digest_algorithms=_DIGESTS,
        ignore_ambiguous_key_info=True,
        verification_time=certificate.not_valid_before_utc,  # its date is for the sysadmin: see warning
    )
    return _Signer(certificate, rules)


def _xml(data: bytes) -> bytes:
    """The document without its declaration: UTF-8 in which nothing but elements and text stands."""
    text = data.removeprefix(_BOM).strip(_SPACE)
    if not text:
        raise NotVerified("the assertion is empty")
    if len(data) > _LONGEST:
        raise NotVerified(f"the assertion is longer than {_LONGEST} bytes")
    if not text.startswith(b"<"):
        try:
            text = base64.b64decode(b"".join(text.split()), validate=True).removeprefix(_BOM).strip(_SPACE)
        except ValueError:
            raise NotVerified("the assertion is neither XML in UTF-8 nor base64 of it") from None
    declaration = _DECLARATION.match(text)
    text = text[declaration.end() :] if declaration else text
    for sign, what in ((b"<!", "a DTD, comment or CDATA section"), (b"<?", "a processing instruction or encoding")):
        if sign in text:
            raise NotVerified(f"the assertion holds {what}, which is not allowed in one")
    return text


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, collect_ids=False
    )


def _parse(text: bytes) -> etree._Element:
    try:
        return etree.fromstring(text, _parser())
    except etree.XMLSyntaxError:
        raise NotVerified("the assertion is not well-formed XML in UTF-8") from None


def _assertion(text: bytes) -> etree._Element:
    """The one assertion of a document, as a document of its own."""
    root = _parse(text)
    found = []
    for element in _elements(root):
        if etree.QName(element).localname == "EncryptedAssertion":
            raise NotVerified("the assertion is encrypted, which is not supported")
        if etree.QName(element).localname == "Assertion":
            found.append(element)
    if len(found) != 1 or found[0].tag != _SAML + "Assertion":
        raise NotVerified(f"there are {len(found)} assertions instead of one of SAML 2.0")
    if found[0] is not root and (root.tag != _RESPONSE or found[0].getparent() is not root):
        raise NotVerified("the assertion is neither by itself nor directly in a Response of SAML 2.0")
    return _parse(etree.tostring(found[0], with_tail=False))


def _elements(root: etree._Element) -> Iterable[etree._Element]:
    """All elements, when there are not too many, nor too deep, and no two with the same ID."""
    depth, ids, found = 0, set(), []
    for event, element in etree.iterwalk(root, ("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "end":
            continue
        found.append(element)
        if depth > _DEEPEST or len(found) > _MOST_ELEMENTS:
            raise NotVerified(f"the assertion has more than {_MOST_ELEMENTS} elements or {_DEEPEST} levels")
        if len(element.attrib) > _MOST_ATTRIBUTES:
            raise NotVerified(f"the assertion has an element of more than {_MOST_ATTRIBUTES} attributes")
        for name, value in element.items():
            if etree.QName(name).localname.lower() == "id":
                if value in ids:
                    raise NotVerified("two elements around the assertion have the same ID")
                ids.add(value)
    return found


def _check_signature(assertion: etree._Element) -> None:
    """That the signature is made as SAML core 5.4 has it, and covers this assertion; not yet that it holds."""
    identifier = assertion.get("ID", "")
    if len(identifier) > _LONGEST_ID or not _ID.fullmatch(identifier) or assertion.get("Version") != "2.0":
        raise NotVerified("the assertion has no usable ID, or is not of Version 2.0")
    signatures = list(assertion.iter(_DS + "Signature"))
    if len(signatures) != 1 or signatures[0].getparent() is not assertion:
        raise NotVerified(f"the assertion itself has to have one signature, and has {len(signatures)} in it")
    signature = signatures[0]
    for info in signature.findall(_DS + "KeyInfo"):  # it is not signed, and not looked at
        signature.remove(info)
    signed_info, value = _children(signature, "SignedInfo", "SignatureValue")
    c14n, method, reference = _children(signed_info, "CanonicalizationMethod", "SignatureMethod", "Reference")
    transforms, digest, digest_value = _children(reference, "Transforms", "DigestMethod", "DigestValue")
    enveloped, exclusive = _children(transforms, "Transform", "Transform")
    for leaf in (value, method, digest, digest_value, enveloped):
        _children(leaf)
    if reference.get("URI") != f"#{identifier}":
        raise NotVerified("the signature is not over the assertion that it stands in")
    _check_transforms(c14n, enveloped, exclusive)
    for element, allowed in ((method, _METHODS), (digest, _DIGESTS)):
        named = element.get("Algorithm", "")
        if named not in [one.value for one in allowed]:
            raise NotVerified(f"the signature uses {quote(named)}, and only RSA and ECDSA with SHA-2 are taken")


def _check_transforms(c14n: etree._Element, enveloped: etree._Element, exclusive: etree._Element) -> None:
    named = [one.get("Algorithm") for one in (c14n, enveloped, exclusive)]
    inside = {child.tag for one in (c14n, exclusive) for child in one}
    if named != [_EXCLUSIVE, _ENVELOPED, _EXCLUSIVE] or inside - {_INCLUSIVE_NAMESPACES}:
        raise NotVerified("the signature uses a transform other than enveloped-signature and exclusive c14n")


def _children(element: etree._Element, *names: str) -> list[etree._Element]:
    children = list(element)
    if [child.tag for child in children] != [_DS + name for name in names]:
        place, wanted = etree.QName(element).localname, ", ".join(names) or "no element"
        raise NotVerified(f"the signature's {place} does not hold exactly {wanted}")
    return children


def _signed(assertion: etree._Element, signers: Iterable[_Signer]) -> etree._Element:
    """The assertion as it was signed: parsed anew from the very bytes that the signature covers."""
    for certificate, rules in signers:
        try:
            result = XMLVerifier().verify(
                assertion,
                x509_cert=certificate,
                expect_config=rules,
                id_attribute="ID",
                parser=_parser(),
                validate_schema=False,  # _check_signature is stricter, and shares no schema between threads
            )
        except InvalidDigest:
            raise NotVerified("the assertion was changed after it was signed") from None
        # Which of these comes of hostile bytes, the library does not say.
        except (SignXMLException, etree.LxmlError, ValueError, TypeError):
            continue
        signed = None if isinstance(result, list) else result.signed_xml
        if signed is not None and signed.tag == assertion.tag and signed.get("ID") == assertion.get("ID"):
            return signed
    raise NotVerified("the signature was not made by a configured certificate")


def _one(parent: etree._Element, name: str) -> etree._Element:
    found = parent.findall(_SAML + name)
    if len(found) != 1:
        place = etree.QName(parent).localname
        raise NotVerified(f"the assertion's {place} has {len(found)} elements {name} instead of one")
    return found[0]


def _text(element: etree._Element) -> str:
    """The whole text of an element that holds nothing else."""
    if len(element):
        raise NotVerified(f"the assertion's {etree.QName(element).localname} holds more than text")
    return (element.text or "").strip()


def _values(assertion: etree._Element, name: str) -> Iterable[str]:
    for attribute in assertion.iterfind(f"{_SAML}AttributeStatement/{_SAML}Attribute"):
        if attribute.get("Name") == name:
            for value in attribute.findall(_SAML + "AttributeValue"):
                yield "".join(map(str, value.itertext())).strip()


def _instant(element: etree._Element, name: str) -> float | None:
    """A time in seconds since 1970 (SAML core 1.3.3)."""
    text = element.get(name)
    if text is None:
        return None
    with suppress(ValueError):  # there is no 30 February
        if _INSTANT.fullmatch(text):
            return dt.datetime.fromisoformat(text).timestamp()
    raise NotVerified(f"the assertion's {name} is not a time in UTC: {quote(text)}")


def _mismatch(what: str, stated: str, wanted: str) -> str:
    return f"{what} {quote(stated, _LONGEST_QUOTE)} instead of {quote(wanted, _LONGEST_QUOTE)}"


def _is_name(text: str) -> bool:
    """Text that a log and a list can hold: no control, format or unassigned characters."""
    if not 0 < len(text) <= _LONGEST_NAME:
        return False
    return text.isprintable() or not any(unicodedata.category(one) in _UNFIT for one in text)
