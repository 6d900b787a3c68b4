"""The prebuilt lists: transfer syntaxes, and the presentation contexts of each service class (PS3.4).

Knows no negotiation: what stands in a list is data, from the dictionary of SOP classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd import sop_class
from scpd.ae.presentation import PresentationContext, build_context

if TYPE_CHECKING:
    from pydicom.uid import UID

__all__ = [
    "ALL_TRANSFER_SYNTAXES",
    "DEFAULT_TRANSFER_SYNTAXES",
    "AllStoragePresentationContexts",
    "ApplicationEventLoggingPresentationContexts",
    "BasicWorklistManagementPresentationContexts",
    "ColorPalettePresentationContexts",
    "DefinedProcedureProtocolPresentationContexts",
    "DisplaySystemPresentationContexts",
    "HangingProtocolPresentationContexts",
    "ImplantTemplatePresentationContexts",
    "InstanceAvailabilityPresentationContexts",
    "InventoryPresentationContexts",
    "MediaCreationManagementPresentationContexts",
    "MediaStoragePresentationContexts",
    "ModalityPerformedPresentationContexts",
    "NonPatientObjectPresentationContexts",
    "PrintManagementPresentationContexts",
    "ProcedureStepPresentationContexts",
    "ProtocolApprovalPresentationContexts",
    "QueryRetrievePresentationContexts",
    "RTMachineVerificationPresentationContexts",
    "RelevantPatientInformationPresentationContexts",
    "StorageCommitmentPresentationContexts",
    "StoragePresentationContexts",
    "SubstanceAdministrationPresentationContexts",
    "UnifiedProcedurePresentationContexts",
    "VerificationPresentationContexts",
]

# The lists are programs' own to alter, contexts and all, so __getattr__ makes new ones each time one is asked for.
# Declared here for type checkers, which must not see a function that seems to know every name.
ALL_TRANSFER_SYNTAXES: list[UID]
DEFAULT_TRANSFER_SYNTAXES: list[UID]
AllStoragePresentationContexts: list[PresentationContext]
ApplicationEventLoggingPresentationContexts: list[PresentationContext]
BasicWorklistManagementPresentationContexts: list[PresentationContext]
ColorPalettePresentationContexts: list[PresentationContext]
DefinedProcedureProtocolPresentationContexts: list[PresentationContext]
DisplaySystemPresentationContexts: list[PresentationContext]
HangingProtocolPresentationContexts: list[PresentationContext]
ImplantTemplatePresentationContexts: list[PresentationContext]
InstanceAvailabilityPresentationContexts: list[PresentationContext]
InventoryPresentationContexts: list[PresentationContext]
MediaCreationManagementPresentationContexts: list[PresentationContext]
MediaStoragePresentationContexts: list[PresentationContext]
ModalityPerformedPresentationContexts: list[PresentationContext]
NonPatientObjectPresentationContexts: list[PresentationContext]
PrintManagementPresentationContexts: list[PresentationContext]
ProcedureStepPresentationContexts: list[PresentationContext]
ProtocolApprovalPresentationContexts: list[PresentationContext]
QueryRetrievePresentationContexts: list[PresentationContext]
RTMachineVerificationPresentationContexts: list[PresentationContext]
RelevantPatientInformationPresentationContexts: list[PresentationContext]
StorageCommitmentPresentationContexts: list[PresentationContext]
StoragePresentationContexts: list[PresentationContext]
SubstanceAdministrationPresentationContexts: list[PresentationContext]
UnifiedProcedurePresentationContexts: list[PresentationContext]
VerificationPresentationContexts: list[PresentationContext]

_SYNTAX_LISTS = {
    "ALL_TRANSFER_SYNTAXES": sop_class.ALL_TRANSFER_SYNTAXES,
    "DEFAULT_TRANSFER_SYNTAXES": sop_class.UNCOMPRESSED,
}
_SUFFIX = "PresentationContexts"
# Two lists have not the name of their service class, and the one that has Storage's is a choice from it.
_CONTEXT_LISTS = {
    **sop_class.SERVICE_CLASSES,
    "AllStorage": sop_class.SERVICE_CLASSES["Storage"],
    "ModalityPerformed": sop_class.SERVICE_CLASSES["ProcedureStep"],
    "Storage": sop_class.MOST_USED_STORAGE,
}


def _listing(name: str) -> list[UID] | list[PresentationContext]:
    if name in _SYNTAX_LISTS:
        return list(_SYNTAX_LISTS[name])
    uids = _CONTEXT_LISTS.get(name.removesuffix(_SUFFIX)) if name.endswith(_SUFFIX) else None
    if uids is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return [build_context(uid) for uid in uids]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> list[UID] | list[PresentationContext]:
        return _listing(name)


def __dir__() -> list[str]:
    return __all__
