"""Hostile bytes → the one assertion in them that a configured certificate signed (PS3.15 B.7; SAML core 5.4).

As little as can be is taken: one assertion, itself signed, in one way; what it says of keys is not looked at, and no
DTD, comment or processing instruction reaches the parser. Signatures are verified with signxml. What comes out was
parsed from the very bytes that were signed. Refuses to know what an assertion says, and whether that holds.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest, SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from scpd.errors import NotVerified, SettingError
from scpd.identity.watched import Watched
from scpd.names import quote
from scpd.regular import content

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAMESPACE = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_RESPONSE = "{urn:oasis:names:tc:SAML:2.0:protocol}Response"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_INCLUSIVE_NAMESPACES = f"{{{_EXCLUSIVE}}}InclusiveNamespaces"

_LONGEST = 0xFFFF  # what the item holds
_MOST_ELEMENTS = 2000
_DEEPEST = 32
_MOST_ATTRIBUTES = 64  # of one element; looking at them takes the square of their number
_LONGEST_ID = 256
_LARGEST_FILE = 1024 * 1024
_MOST_CERTIFICATES = 16
_SHORTEST_RSA = 2048  # bits
_SHORTEST_CURVE = 256

_METHODS = frozenset(
    method
    for method in SignatureMethod
    if re.fullmatch(r"(RSA|ECDSA)_SHA(256|384|512)|SHA(256|384|512)_RSA_MGF1", method.name)
)
_DIGESTS = frozenset((DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512))

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_DECLARATION = re.compile(
    rb"""<\?xml\s+version\s*=\s*["']1\.[0-9]["'](\s+encoding\s*=\s*["']utf-?8["'])?(\s+standalone\s*=\s*["'](yes|no)["'])?\s*\?>""",
    re.IGNORECASE,
)
_ID = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


class Signers:
    """Who may sign: the certificates of a file, which is read again when it has changed.

    Raises :class:`SettingError` when the file cannot be used at the start; later, those that were read before stay in
    force.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Watched(path, _read, "the certificates that stood there before stay in force")

    def verified(self, data: bytes) -> etree._Element:
        """The assertion that one of them signed. Raises :class:`NotVerified` that says why there is none."""
        assertion = _assertion(_xml(data))
        _check_signature(assertion)
        return _signed(assertion, self._file.current())

    def warning(self, now: float) -> str:
        """What is wrong by now. Past its date a certificate still counts: it is trusted because it was configured."""
        dates = [signer.certificate.not_valid_after_utc for signer in self._file.current()]
        expired = [date for date in dates if date.timestamp() < now]
        past = f"{self._path} holds a certificate that expired on {expired[0]:%Y-%m-%d}" if expired else ""
        return self._file.warning or past


class _Signer(NamedTuple):
    certificate: x509.Certificate
    rules: SignatureConfiguration


def _read(path: Path) -> tuple[_Signer, ...]:
    certificates = _certificates(path)
    if len(certificates) > _MOST_CERTIFICATES:
        raise SettingError("certificate", f"{path} holds more than {_MOST_CERTIFICATES}; keep the issuer's alone")
    return tuple(_signer(certificate, path) for certificate in certificates)


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        if not path.is_file():
            raise SettingError("certificate", f"{path} is not a file; write the issuer's certificate there, PEM")
        return x509.load_pem_x509_certificates(content(path, _LARGEST_FILE))
    except OSError as error:
        raise SettingError("certificate", f"{path} cannot be read ({error.strerror}); let scpd read it") from None
    except (ValueError, x509.InvalidVersion):
        raise SettingError("certificate", f"{path} holds no certificate; write the issuer's there, PEM") from None


def _signer(certificate: x509.Certificate, path: Path) -> _Signer:
    if not _is_usable(certificate):
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


def _is_usable(certificate: x509.Certificate) -> bool:
    with suppress(ValueError, UnsupportedAlgorithm):  # a key is read no sooner
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            return key.key_size >= _SHORTEST_RSA
        return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= _SHORTEST_CURVE
    return False


# -- what came: bytes to one element


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
    if len(found) != 1 or found[0].tag != NAMESPACE + "Assertion":
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


# -- its signature


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
