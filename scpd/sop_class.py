"""SOP classes and transfer syntaxes by keyword, name and service class, from pydicom's UID dictionary (PS3.6 annex A).

``scpd.sop_class.CTImageStorage`` is the UID with that keyword, ``scpd.sop_class.PrinterInstance`` that of a well-known
SOP instance; what the dictionary does not know is an :class:`AttributeError`. Knows no network and no configuration.
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

_WELL_KNOWN_INSTANCES: dict[str, UID] = {
    keyword: UID(uid) for uid, (_, kind, _, _, keyword) in UID_dictionary.items() if kind == "Well-known SOP Instance"
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

# What may still be proposed: the compressed ones in the order of the standard, after those that everybody reads. Of the
# retired ones big endian alone, which old modalities still speak.
ALL_TRANSFER_SYNTAXES: tuple[UID, ...] = UNCOMPRESSED + tuple(
    uid for uid in TRANSFER_SYNTAXES.values() if uid not in UNCOMPRESSED and UID_dictionary[uid][3] != "Retired"
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

# Storage classes that the standard has and the dictionary of pydicom 3.0 has not yet.
_YOUNGER: dict[str, UID] = {
    "WaveformPresentationStateStorage": UID("1.2.840.10008.5.1.4.1.1.9.100.1"),
    "WaveformAcquisitionPresentationStateStorage": UID("1.2.840.10008.5.1.4.1.1.9.100.2"),
    "LabelMapSegmentationStorage": UID("1.2.840.10008.5.1.4.1.1.66.7"),
    "HeightMapSegmentationStorage": UID("1.2.840.10008.5.1.4.1.1.66.8"),
}

# What is left to share out among the other services: not for C-STORE, and not retired.
_STORED = frozenset(STORAGE)
_REST: dict[str, UID] = {
    keyword: uid for keyword, uid in SOP_CLASSES.items() if uid not in _STORED and UID_dictionary[uid][3] != "Retired"
}


def _named(*words: str, among: dict[str, UID] = _REST) -> tuple[UID, ...]:
    """The classes in whose keyword one of ``words`` stands, sorted by UID."""
    return tuple(sorted({uid for word in words for keyword, uid in among.items() if word in keyword}))


_NON_PATIENT_OBJECT = _named(
    "HangingProtocolStorage",
    "ColorPaletteStorage",
    "TemplateStorage",
    "TemplateGroupStorage",
    "DefinedProcedureProtocolStorage",
    "ProtocolApprovalStorage",
    "InventoryStorage",
    among=SOP_CLASSES,
)

# The service classes of PS3.4 by name: for each its SOP classes, sorted by UID. A C-STORE carries those of Storage and
# of NonPatientObject; STORAGE is both, as far as the dictionary has them.
SERVICE_CLASSES: dict[str, tuple[UID, ...]] = {
    "ApplicationEventLogging": _named("EventLogging", "SubstanceAdministrationLogging"),  # annex P
    "BasicWorklistManagement": _named("ModalityWorklistInformationModel"),  # annex K
    "ColorPalette": _named("ColorPaletteQueryRetrieve"),  # annex X
    "DefinedProcedureProtocol": _named("DefinedProcedureProtocolInformationModel"),  # annex HH
    "DisplaySystem": _named("DisplaySystem"),  # annex EE
    "HangingProtocol": _named("HangingProtocolInformationModel"),  # annex U
    "ImplantTemplate": _named("TemplateInformationModel", "TemplateGroupInformationModel"),  # annex BB
    "InstanceAvailability": _named("InstanceAvailabilityNotification"),  # annex R
    "Inventory": _named("InventoryFind", "InventoryMove", "InventoryGet"),  # annex JJ
    "MediaCreationManagement": _named("MediaCreationManagement"),  # annex S
    "MediaStorage": _named("MediaStorageDirectory"),  # annex I
    "NonPatientObject": _NON_PATIENT_OBJECT,  # annex GG
    # Annex H. The VOI LUT Box is in the dictionary, but H.3.3.2 does not offer it.
    "PrintManagement": _named(
        "BasicFilm", "BasicGrayscale", "BasicColor", "BasicAnnotation", "Print", "PresentationLUT"
    ),
    "ProcedureStep": _named("ModalityPerformedProcedureStep"),  # annex F
    "ProtocolApproval": _named("ProtocolApprovalInformationModel"),  # annex II
    # Annex C. The Patient/Study Only model is retired and still asked for; a repository query stands in C.6.4.
    "QueryRetrieve": tuple(
        sorted(
            _named("RootQueryRetrieve", "CompositeInstance", "RepositoryQuery")
            + _named("PatientStudyOnlyQueryRetrieve", among=SOP_CLASSES)
        )
    ),
    "RelevantPatientInformation": _named("RelevantPatientInformationQuery"),  # annex Q
    "RTMachineVerification": _named("MachineVerification"),  # annex DD
    "Storage": tuple(sorted({*STORAGE, *_YOUNGER.values()}.difference(_NON_PATIENT_OBJECT))),  # annex B
    "StorageCommitment": _named("StorageCommitment"),  # annex J
    "SubstanceAdministration": _named("ProductCharacteristicsQuery", "SubstanceApprovalQuery"),  # annex V
    "UnifiedProcedure": _named("UnifiedProcedureStep"),  # annex CC
    "Verification": VERIFICATION,  # annex A
}

# What modalities, workstations and archives send, some of it long retired: 120 storage classes, which leaves eight of
# the 128 contexts of a request for others. Named one by one, since what a rule finds grows with the dictionary.
_MOST_USED = """
    ComputedRadiographyImageStorage CTImageStorage EnhancedCTImageStorage LegacyConvertedEnhancedCTImageStorage
    MRImageStorage MRSpectroscopyStorage EnhancedMRImageStorage EnhancedMRColorImageStorage
    LegacyConvertedEnhancedMRImageStorage NuclearMedicineImageStorage PositronEmissionTomographyImageStorage
    EnhancedPETImageStorage LegacyConvertedEnhancedPETImageStorage
    UltrasoundImageStorage UltrasoundMultiFrameImageStorage EnhancedUSVolumeStorage

    DigitalXRayImageStorageForPresentation DigitalXRayImageStorageForProcessing
    DigitalMammographyXRayImageStorageForPresentation DigitalMammographyXRayImageStorageForProcessing
    DigitalIntraOralXRayImageStorageForPresentation DigitalIntraOralXRayImageStorageForProcessing
    XRayAngiographicImageStorage EnhancedXAImageStorage XRayRadiofluoroscopicImageStorage EnhancedXRFImageStorage
    XRay3DAngiographicImageStorage XRay3DCraniofacialImageStorage BreastTomosynthesisImageStorage

    SecondaryCaptureImageStorage MultiFrameSingleBitSecondaryCaptureImageStorage
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    MultiFrameTrueColorSecondaryCaptureImageStorage EncapsulatedPDFStorage EncapsulatedCDAStorage RawDataStorage

    VLEndoscopicImageStorage VLMicroscopicImageStorage VLSlideCoordinatesMicroscopicImageStorage
    VLPhotographicImageStorage VLWholeSlideMicroscopyImageStorage
    VideoEndoscopicImageStorage VideoMicroscopicImageStorage VideoPhotographicImageStorage
    IntravascularOpticalCoherenceTomographyImageStorageForPresentation
    IntravascularOpticalCoherenceTomographyImageStorageForProcessing

    OphthalmicPhotography8BitImageStorage OphthalmicPhotography16BitImageStorage OphthalmicTomographyImageStorage
    OphthalmicThicknessMapStorage OphthalmicAxialMeasurementsStorage
    OphthalmicVisualFieldStaticPerimetryMeasurementsStorage StereometricRelationshipStorage
    MacularGridThicknessAndVolumeReportStorage LensometryMeasurementsStorage AutorefractionMeasurementsStorage
    KeratometryMeasurementsStorage SubjectiveRefractionMeasurementsStorage VisualAcuityMeasurementsStorage
    SpectaclePrescriptionReportStorage IntraocularLensCalculationsStorage

    RTImageStorage RTDoseStorage RTStructureSetStorage RTPlanStorage RTIonPlanStorage
    RTBeamsTreatmentRecordStorage RTBrachyTreatmentRecordStorage RTIonBeamsTreatmentRecordStorage
    RTTreatmentSummaryRecordStorage RTBeamsDeliveryInstructionStorage

    BasicTextSRStorage EnhancedSRStorage ComprehensiveSRStorage Comprehensive3DSRStorage ProcedureLogStorage
    MammographyCADSRStorage ChestCADSRStorage ColonCADSRStorage XRayRadiationDoseSRStorage ImplantationPlanSRStorage
    KeyObjectSelectionDocumentStorage

    GrayscaleSoftcopyPresentationStateStorage ColorSoftcopyPresentationStateStorage
    PseudoColorSoftcopyPresentationStateStorage BlendingSoftcopyPresentationStateStorage
    XAXRFGrayscaleSoftcopyPresentationStateStorage BasicStructuredDisplayStorage
    SpatialRegistrationStorage DeformableSpatialRegistrationStorage SpatialFiducialsStorage SegmentationStorage
    SurfaceSegmentationStorage SurfaceScanMeshStorage SurfaceScanPointCloudStorage RealWorldValueMappingStorage

    TwelveLeadECGWaveformStorage GeneralECGWaveformStorage AmbulatoryECGWaveformStorage
    HemodynamicWaveformStorage CardiacElectrophysiologyWaveformStorage ArterialPulseWaveformStorage
    RespiratoryWaveformStorage BasicVoiceAudioWaveformStorage GeneralAudioWaveformStorage

    UltrasoundImageStorageRetired UltrasoundMultiFrameImageStorageRetired NuclearMedicineImageStorageRetired
    XRayAngiographicBiPlaneImageStorage VLImageStorageTrial VLMultiFrameImageStorageTrial
    HardcopyGrayscaleImageStorage HardcopyColorImageStorage StoredPrintStorage
    StandaloneOverlayStorage StandaloneCurveStorage StandalonePETCurveStorage
    StandaloneModalityLUTStorage StandaloneVOILUTStorage
"""
MOST_USED_STORAGE: tuple[UID, ...] = tuple(
    # A later pydicom may spell a keyword in another way: that costs one class, not the start of the daemon.
    sorted(SOP_CLASSES[keyword] for keyword in _MOST_USED.split() if keyword in SOP_CLASSES)
)

# Classes by which a peer asks for what is held, rather than bringing or changing something.
READING: frozenset[str] = frozenset(
    uid for keyword, uid in {**SOP_CLASSES, **_YOUNGER}.items() if keyword.endswith(("Find", "Move", "Get", "Query"))
)

# The models of Patient Root, Study Root and Patient/Study Only, each to find, move and get (PS3.4 C.6).
QUERY_RETRIEVE: tuple[UID, ...] = tuple(
    SOP_CLASSES[f"{model}QueryRetrieveInformationModel{operation}"]
    for model in ("PatientRoot", "StudyRoot", "PatientStudyOnly")
    for operation in ("Find", "Move", "Get")
)
STORAGE_COMMITMENT: tuple[UID, ...] = (SOP_CLASSES["StorageCommitmentPushModel"],)

# Group names that a configuration may use for many SOP classes at once.
GROUPS: dict[str, tuple[UID, ...]] = {
    "verification": VERIFICATION,
    "storage": STORAGE,
    "query_retrieve": QUERY_RETRIEVE,
    "storage_commitment": STORAGE_COMMITMENT,
}


def uid_name(uid: str) -> str:
    """The standard's name of a UID, or the UID itself."""
    return UID_dictionary[uid][0] or uid if uid in UID_dictionary else uid


def uid_keyword(uid: str) -> str:
    """The standard's keyword of a UID, or the UID itself: short, for logs and counts."""
    return UID_dictionary[uid][4] or uid if uid in UID_dictionary else uid


def uid_type(uid: str) -> str:
    """What a UID names, in the dictionary's words ("SOP Class", "Transfer Syntax"); empty where it does not know it."""
    return UID_dictionary[uid][1] if uid in UID_dictionary else ""


# Names that programs written for pynetdicom import, where they are not the standard's keywords.
_ALIASES = {
    "ColorPaletteInformationModelFind": "ColorPaletteQueryRetrieveInformationModelFind",
    "ColorPaletteInformationModelGet": "ColorPaletteQueryRetrieveInformationModelGet",
    "ColorPaletteInformationModelMove": "ColorPaletteQueryRetrieveInformationModelMove",
    "ModalityWorklistInformationFind": "ModalityWorklistInformationModelFind",
    "OphthlamicOpticalCoherenceTomographyBscanVolumeAnalysisStorage": (
        "OphthalmicOpticalCoherenceTomographyBscanVolumeAnalysisStorage"
    ),
    "PseudoColorSoftcopyPresentationStageStorage": "PseudoColorSoftcopyPresentationStateStorage",
    "RTBrachyApplicationSetupDeliveryInstructionsStorage": "RTBrachyApplicationSetupDeliveryInstructionStorage",
    "RoboticArmRadiationRecordStorage": "RoboticRadiationRecordStorage",
    "VariableModalityLUTSoftcopyPresentationStageStorage": "VariableModalityLUTSoftcopyPresentationStateStorage",
}


def __getattr__(name: str) -> UID:
    keyword = _ALIASES.get(name, name)
    for known in (SOP_CLASSES, _YOUNGER, _WELL_KNOWN_INSTANCES):
        if keyword in known:
            return known[keyword]
    raise AttributeError(f"pydicom's dictionary has no SOP class {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *SOP_CLASSES, *_YOUNGER, *_WELL_KNOWN_INSTANCES})
