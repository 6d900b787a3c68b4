"""Entries of ``contexts`` that nobody can use: replaced by later ones, or in encodings that their classes cannot have.

Which classes hold pixel data is known here by the standard's keywords; what is not known to hold none may hold some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.config.uids import SYNTAX_GROUPS, sop_class_uids, transfer_syntax_uids
from scpd.sop_class import uid_keyword

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scpd.config import ContextEntry, ServerConfig

# PS3.5 A.4 and 8.2: what compresses or encapsulates pixel data, and can encode nothing without them.
_OF_PIXELS = tuple(f"1.2.840.10008.1.2.{branch}" for branch in ("1.98", "4.", "5", "7.", "8."))
# In the keyword of a class whose information object has no pixel data (PS3.3 annex A).
_WITHOUT_PIXELS = (
    *("Verification", "QueryRetrieve", "StorageCommitment"),
    *("SRStorage", "KeyObjectSelection", "ProcedureLog", "PresentationState", "Waveform"),
    *("Encapsulated", "Measurements", "SpectaclePrescription", "IntraocularLens", "ThicknessAndVolumeReport"),
    *("StereometricRelationship", "SpatialRegistration", "SpatialFiducials", "SurfaceSegmentation", "SurfaceScan"),
    *("Tractography", "RealWorldValueMapping", "MRSpectroscopy", "ContentAssessment", "BasicStructuredDisplay"),
    *("RTStructureSet", "RTPlan", "RTIonPlan", "TreatmentRecord", "TreatmentSummary", "PhysicianIntent"),
    *("RadiationStorage", "RadiationSet", "RadiationRecord", "RadiationSalvageRecord", "DeliveryInstruction"),
    *("ProcedureProtocol", "ProtocolApproval", "HangingProtocol", "ColorPalette", "Inventory"),
    *("StandaloneCurve", "StandalonePETCurve", "StandaloneModalityLUT", "StandaloneVOILUT"),
)
_REPLACED = (
    "every SOP class of this entry stands in a later one, which replaces it; take it out, or write it after the others"
)
_NO_ROLES = (
    "both roles are false, so whoever proposes roles has the context rejected; leave both out for the usual ones"
)


def of_server(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """A warning for each entry that does nothing, and for each encoding that none of its classes can have."""
    for number, (entry, classes) in enumerate(zip(server.contexts, _left(server.contexts), strict=True)):
        for what in _of_entry(entry, classes):
            yield f"contexts[{number}]", what


def _left(entries: Sequence[ContextEntry]) -> list[list[str]]:
    """The classes of each entry that no later one replaces."""
    later: set[str] = set()
    left = []
    for entry in reversed(entries):
        left.append([uid for uid in sop_class_uids(entry.sop_classes) if uid not in later])
        later.update(left[-1])
    return left[::-1]


def _of_entry(entry: ContextEntry, classes: Sequence[str]) -> Iterator[str]:
    if not classes:
        yield _REPLACED
        return
    if entry.scu_role is False and entry.scp_role is False:
        yield _NO_ROLES
    without = [uid for uid in classes if not _may_hold_pixels(uid)]
    if without and not _without_pixels(transfer_syntax_uids(entry.transfer_syntaxes)):
        yield _not_served(without)
    elif len(without) == len(classes):
        yield from map(_useless, _pixels_alone(entry.transfer_syntaxes))


def _not_served(classes: Sequence[str]) -> str:
    others = f", as one of {len(classes)}," if len(classes) > 1 else ""
    return (
        f"{uid_keyword(classes[0])}{others} cannot be sent at all: there is no pixel data in it, and every transfer "
        "syntax here is for that; add default to transfer_syntaxes, or write an entry of its own"
    )


def _useless(syntax: str) -> str:
    return f"{syntax} is for pixel data, which no SOP class of this entry has; take it out of transfer_syntaxes"


def _without_pixels(syntaxes: Iterable[str]) -> list[str]:
    return [uid for uid in syntaxes if not uid.startswith(_OF_PIXELS)]


def _pixels_alone(names: Iterable[str]) -> list[str]:
    """Those that were named one by one: all means whatever there is."""
    return [name for name in names if name not in SYNTAX_GROUPS and not _without_pixels(transfer_syntax_uids((name,)))]


def _may_hold_pixels(sop_class: str) -> bool:
    return not any(word in uid_keyword(sop_class) for word in _WITHOUT_PIXELS)
