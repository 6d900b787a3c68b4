"""SOP classes and transfer syntaxes by keyword, name and group, from pydicom's UID dictionary (PS3.6 annex A).

``scpd.sop_class.CTImageStorage`` is the UID with that keyword; what the dictionary does not know is an
:class:`AttributeError`. Knows no network and no configuration.
"""

from __future__ import annotations

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

_SOP_CLASS_TYPES = ("SOP Class", "Meta SOP Class")

# keyword → UID; entries that the standard retired without leaving them a name have no keyword.
SOP_CLASSES: dict[str, UID] = {
    keyword: UID(uid)
    for uid, (_, kind, _, _, keyword) in UID_dictionary.items()
    if kind in _SOP_CLASS_TYPES and keyword
}
TRANSFER_SYNTAXES: dict[str, UID] = {
    keyword: UID(uid)
    for uid, (_, kind, _, _, keyword) in UID_dictionary.items()
    if kind == "Transfer Syntax" and keyword
}

# PS3.5 10.1 and annex A: the encodings without compression of pixel data, the default one first.
UNCOMPRESSED: tuple[UID, ...] = tuple(
    TRANSFER_SYNTAXES[keyword]
    for keyword in (
        "ImplicitVRLittleEndian",
        "ExplicitVRLittleEndian",
        "DeflatedExplicitVRLittleEndian",
        "ExplicitVRBigEndian",
    )
)

# Classes with "Storage" in their name that take no C-STORE: media directories and the commitment services.
_NOT_STORED = ("MediaStorageDirectoryStorage", "StorageCommitment")
# A name lost by its retirement: two classes of the storage service that the dictionary keeps without one.
_RETIRED_NAMELESS = ("1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40")

VERIFICATION: tuple[UID, ...] = (SOP_CLASSES["Verification"],)
STORAGE: tuple[UID, ...] = (
    *(uid for keyword, uid in SOP_CLASSES.items() if "Storage" in keyword and not keyword.startswith(_NOT_STORED)),
    *(UID(uid) for uid in _RETIRED_NAMELESS),
)

# Group names that a configuration may use for many SOP classes at once.
GROUPS: dict[str, tuple[UID, ...]] = {"verification": VERIFICATION, "storage": STORAGE}


def uid_name(uid: str) -> str:
    """The standard's name of a UID, or the UID itself."""
    return UID_dictionary[uid][0] or uid if uid in UID_dictionary else uid


def uid_keyword(uid: str) -> str:
    """The standard's keyword of a UID, or the UID itself: short, for logs and counts."""
    return UID_dictionary[uid][4] or uid if uid in UID_dictionary else uid


def __getattr__(name: str) -> UID:
    try:
        return SOP_CLASSES[name]
    except KeyError:
        raise AttributeError(f"pydicom's dictionary has no SOP class {name!r}") from None


def __dir__() -> list[str]:
    return sorted([*globals(), *SOP_CLASSES])
