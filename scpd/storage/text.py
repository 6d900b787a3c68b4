"""Raw values of a data set → text, in the character set that the data set names (PS3.5 6.1, PS3.3 C.12.1.1.2)."""

from __future__ import annotations

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

# Control characters that end a run of ISO 2022 escapes (PS3.5 6.1.2.5.3).
_DELIMITERS = set(b"\\^=")
# The escape of ISO 2022 IR 58, which names no character.
_KEPT_BY_PYDICOM = "\x1b$)A"


class Text:
    """Decodes values; ``character_set`` is the raw value of Specific Character Set (0008,0005), or empty."""

    def __init__(self, character_set: bytes) -> None:
        self._character_set = character_set
        self._encodings: list[str] = []

    def decode(self, raw: bytes) -> str:
        """The text of ``raw`` without padding; what its character set does not have becomes U+FFFD."""
        raw = raw.strip(b"\0 ")
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        try:
            return decode_bytes(raw, self._names(), _DELIMITERS).replace(_KEPT_BY_PYDICOM, "")
        except (LookupError, UnicodeError, ValueError):
            return raw.decode("ascii", "replace")

    def _names(self) -> list[str]:
        if not self._encodings:
            terms = self._character_set.decode("ascii", "replace").strip("\0 ").split("\\")
            # Only the standard's terms: pydicom would take any codec of Python's by its name.
            self._encodings = convert_encodings([term.strip() for term in terms if term.strip() in python_encoding])
        return self._encodings
