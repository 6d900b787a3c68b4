"""Text → the bytes of a Specific Character Set (PS3.5 6.1, PS3.3 C.12.1.1.2), or not at all where it cannot hold it."""

from __future__ import annotations

from functools import lru_cache

from pydicom.charset import ENCODINGS_TO_CODES, convert_encodings, custom_encoders, python_encoding

UTF_8 = "ISO_IR 192"
# What pydicom calls the default repertoire, though it is Latin-1 to Python; and JIS X 0201, Roman letters and kana.
_DEFAULT, _JIS_X_0201 = "iso8859", "shift_jis"
_ROMAN = b"\x1b(J"
# Those that take the place of ASCII itself, which everything has to be back in at its end.
_IN_PLACE_OF_ASCII = ("iso2022_jp", "iso2022_jp_2")
# After these everything is again as it was at the start (PS3.5 6.1.2.5.3); ^ and = are seen to where names are.
_RESETS = "\t\n\f\r"


def terms_of(character_set: str) -> tuple[str, ...]:
    """The defined terms of a Specific Character Set; empty for the default repertoire. :class:`LookupError` for others.

    Only the standard's terms: pydicom would take any codec of Python's by its name.
    """
    terms = tuple(term.strip() for term in character_set.split("\\"))
    for term in terms:
        if term not in python_encoding:
            raise LookupError(term)
    return terms if any(terms) else ()


class CharacterSet:
    """Encodes text by the terms of one Specific Character Set."""

    def __init__(self, terms: tuple[str, ...]) -> None:
        self.value = "\\".join(terms)
        self._encodings = tuple(convert_encodings(list(terms)))

    def encode(self, text: str, *, is_name: bool = False) -> bytes:
        """The bytes of one value. Raises :class:`UnicodeError` for what the character set does not have."""
        if text.isascii():
            return text.encode("ascii")
        if len(self._encodings) == 1 and self._encodings[0] not in (_DEFAULT, _JIS_X_0201):
            return text.encode(self._encodings[0])
        if not is_name:
            return _switching(text, self._encodings)
        groups = (group.split("^") for group in text.split("="))
        return b"=".join(b"^".join(_switching(part, self._encodings) for part in group) for group in groups)


def _switching(text: str, encodings: tuple[str, ...]) -> bytes:
    """Text in several character sets, begun in the first of them, with escapes between (PS3.5 6.1.2.5)."""
    first = current = encodings[0]
    encoded = []
    for character in text:
        encoding = first if character in _RESETS else _one_of(character, (current, *encodings))
        raw = _bytes(character, encoding)
        if encoding != current:
            encoded.append(_escape(encoding, raw))
        encoded.append(raw)
        current = encoding
    if current in _IN_PLACE_OF_ASCII:
        encoded.append(_escape(first, b" "))
    return b"".join(encoded)


def _escape(encoding: str, raw: bytes) -> bytes:
    return _ROMAN if encoding == _JIS_X_0201 and raw < b"\x80" else ENCODINGS_TO_CODES.get(encoding, b"")


@lru_cache(maxsize=4096)
def _one_of(character: str, encodings: tuple[str, ...]) -> str:
    for encoding in encodings:
        try:
            _bytes(character, encoding)
        except UnicodeError:
            continue
        return encoding
    raise UnicodeError("a character that none of the character sets has")


def _bytes(character: str, encoding: str) -> bytes:
    if encoding in custom_encoders:
        encoded: bytes = custom_encoders[encoding](character, errors="strict")
        return encoded.removeprefix(ENCODINGS_TO_CODES[encoding])
    return character.encode("ascii" if encoding == _DEFAULT else encoding)
