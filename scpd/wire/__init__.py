"""Bytes ↔ values of the DICOM upper layer (PS3.8 section 9.3, PS3.7 annex D.3.3).

One frozen dataclass per structure, its encoding and decoding side by side. Knows no socket, no state, no clock and
no configuration. What cannot be decoded is a :class:`~scpd.errors.ProtocolError` and never anything else.
"""
