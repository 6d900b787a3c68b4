"""SOP classes by keyword and by service class, and the groups of them that a configuration may name."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydicom.uid import UID

from scpd import sop_class
from scpd.names import is_uid

NAMELESS = ("1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40")
# Importing pynetdicom adds to pydicom's dictionary, so it is asked in another process, after ours was read.
ASK = """
import json
from pydicom._uid_dict import UID_dictionary
from scpd import sop_class
dictionary = dict(UID_dictionary)
syntaxes = sop_class.ALL_TRANSFER_SYNTAXES
import pynetdicom
import pynetdicom.sop_class as theirs
lists = {name: list(value.values()) for name, value in vars(theirs).items()
         if name.endswith("_CLASSES") and isinstance(value, dict)}
names = {name: value for name, value in vars(theirs).items() if isinstance(value, pynetdicom.sop_class.UID)}
print(json.dumps({
    "dictionary": dictionary, "syntaxes": syntaxes, "lists": {k: v for k, v in lists.items() if k != "_SERVICE_CLASSES"},
    "names": names, "their_syntaxes": pynetdicom.ALL_TRANSFER_SYNTAXES,
    "their_defaults": pynetdicom.DEFAULT_TRANSFER_SYNTAXES,
}))
"""
# pynetdicom's list → our service class; both have the same members but for those named below.
LISTS = {
    "_APPLICATION_EVENT_CLASSES": "ApplicationEventLogging",
    "_BASIC_WORKLIST_CLASSES": "BasicWorklistManagement",
    "_COLOR_PALETTE_CLASSES": "ColorPalette",
    "_DEFINED_PROCEDURE_CLASSES": "DefinedProcedureProtocol",
    "_DISPLAY_SYSTEM_CLASSES": "DisplaySystem",
    "_HANGING_PROTOCOL_CLASSES": "HangingProtocol",
    "_IMPLANT_TEMPLATE_CLASSES": "ImplantTemplate",
    "_INSTANCE_AVAILABILITY_CLASSES": "InstanceAvailability",
    "_INVENTORY_CLASSES": "Inventory",
    "_MEDIA_CREATION_CLASSES": "MediaCreationManagement",
    "_MEDIA_STORAGE_CLASSES": "MediaStorage",
    "_NON_PATIENT_OBJECT_CLASSES": "NonPatientObject",
    "_PRINT_MANAGEMENT_CLASSES": "PrintManagement",
    "_PROCEDURE_STEP_CLASSES": "ProcedureStep",
    "_PROTOCOL_APPROVAL_CLASSES": "ProtocolApproval",
    "_QR_CLASSES": "QueryRetrieve",
    "_RELEVANT_PATIENT_QUERY_CLASSES": "RelevantPatientInformation",
    "_RT_MACHINE_VERIFICATION_CLASSES": "RTMachineVerification",
    "_STORAGE_COMMITMENT_CLASSES": "StorageCommitment",
    "_SUBSTANCE_ADMINISTRATION_CLASSES": "SubstanceAdministration",
    "_UNIFIED_PROCEDURE_STEP_CLASSES": "UnifiedProcedure",
    "_VERIFICATION_CLASSES": "Verification",
}


@pytest.fixture(scope="session")
def asked() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True, text=True, timeout=120)
    return json.loads(done.stdout)


def keywords(asked: dict[str, Any], uids: set[str]) -> set[str]:
    return {asked["dictionary"][uid][4] or uid for uid in uids}


def test_a_keyword_is_its_uid():
    assert sop_class.CTImageStorage == "1.2.840.10008.5.1.4.1.1.2"
    assert sop_class.Verification == "1.2.840.10008.1.1"
    assert isinstance(sop_class.CTImageStorage, UID)


@pytest.mark.parametrize("name", ["NoSuchStorage", "ctimagestorage", "ExplicitVRLittleEndian", "__wrapped__", ""])
def test_what_the_dictionary_does_not_know_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"no SOP class '{name}'"):
        getattr(sop_class, name)


def test_every_keyword_is_an_attribute():
    assert {keyword: getattr(sop_class, keyword) for keyword in sop_class.SOP_CLASSES} == sop_class.SOP_CLASSES


def test_every_name_that_programs_import_from_pynetdicom_is_the_same_uid_here(asked):
    """Classes that the dictionary lacks or spells in another way, and the well-known instances, among them."""
    assert len(asked["names"]) > 250
    assert {name: str(getattr(sop_class, name, None)) for name in asked["names"]} == asked["names"]


def test_an_alias_is_another_name_of_a_class_that_the_dictionary_has():
    for alias, keyword in sop_class._ALIASES.items():
        assert alias not in sop_class.SOP_CLASSES
        assert getattr(sop_class, alias) is sop_class.SOP_CLASSES[keyword]


def test_dir_lists_the_keywords():
    listed = dir(sop_class)
    assert {"CTImageStorage", "Verification", "STORAGE", "uid_name", "PrinterInstance"} <= set(listed)
    assert all(hasattr(sop_class, name) for name in listed)
    assert listed == sorted(set(listed))


def test_the_storage_group_has_every_storage_class_of_pynetdicom_that_pydicoms_dictionary_has(asked):
    missing = set(asked["lists"]["_STORAGE_CLASSES"]) - set(sop_class.STORAGE)
    assert not missing & asked["dictionary"].keys()


def test_the_storage_group_holds_what_a_c_store_can_carry_and_nothing_else():
    """A storage class each, and the two whose names the dictionary lost with their retirement."""
    names = [sop_class.uid_name(uid) for uid in sop_class.STORAGE]
    assert [name for name in names if "Storage" not in name] == list(NAMELESS)
    assert not [name for name in names if "Commitment" in name or "Directory" in name]
    assert len(names) > 150


def test_the_configuration_knows_four_groups():
    assert sop_class.GROUPS == {
        "verification": sop_class.VERIFICATION,
        "storage": sop_class.STORAGE,
        "query_retrieve": sop_class.QUERY_RETRIEVE,
        "storage_commitment": sop_class.STORAGE_COMMITMENT,
    }


def test_the_groups_of_queries_and_of_commitment_are_the_classes_of_the_standard():
    models = [f"1.2.840.10008.5.1.4.1.2.{model}.{operation}" for model in (1, 2, 3) for operation in (1, 2, 3)]
    assert list(sop_class.QUERY_RETRIEVE) == models
    assert sop_class.STORAGE_COMMITMENT == ("1.2.840.10008.1.20.1",)


@pytest.mark.parametrize("group", [*sop_class.GROUPS.values(), *sop_class.SERVICE_CLASSES.values()])
def test_no_group_is_empty_or_has_a_class_twice_and_all_are_uids(group):
    assert group
    assert len(set(group)) == len(group)
    assert all(is_uid(uid) and isinstance(uid, UID) for uid in group)


@pytest.mark.parametrize("uids", [*sop_class.SERVICE_CLASSES.values(), sop_class.MOST_USED_STORAGE])
def test_a_service_class_is_sorted_by_uid(uids):
    assert list(uids) == sorted(uids)


@pytest.mark.parametrize(("theirs", "ours"), LISTS.items())
def test_a_service_class_has_the_members_that_pynetdicom_gives_it(asked, theirs, ours):
    assert sorted(asked["lists"][theirs]) == list(sop_class.SERVICE_CLASSES[ours])


def test_every_service_class_is_compared_with_pynetdicoms(asked):
    """But storage, which differs and is compared below, and storage management, which has no prebuilt list."""
    assert set(LISTS.values()) | {"Storage"} == sop_class.SERVICE_CLASSES.keys()
    assert LISTS.keys() | {"_STORAGE_CLASSES", "_STORAGE_MANAGEMENT_CLASSES"} == asked["lists"].keys()


def test_storage_has_all_classes_of_pynetdicom_and_those_that_it_leaves_out(asked):
    """These are retired, or another standard's (DICOS, DICONDE): storage classes of PS3.6 table A-1 all the same."""
    theirs, ours = set(asked["lists"]["_STORAGE_CLASSES"]), set(sop_class.SERVICE_CLASSES["Storage"])
    assert not theirs - ours
    more = {uid: asked["dictionary"][uid] for uid in ours - theirs}
    assert {info for _, _, info, retired, _ in more.values() if retired != "Retired"} == {"DICOS", "DICONDE ASTM E2934"}
    assert len(more) == 31


def test_storage_has_four_classes_that_are_younger_than_pydicoms_dictionary(asked):
    younger = set(sop_class.SERVICE_CLASSES["Storage"]) - asked["dictionary"].keys()
    assert younger == set(sop_class._YOUNGER.values())
    assert younger == set(asked["lists"]["_STORAGE_CLASSES"]) - asked["dictionary"].keys()


def test_a_c_store_carries_patients_objects_and_others_each_in_one_service():
    storage = set(sop_class.SERVICE_CLASSES["Storage"])
    others = set(sop_class.SERVICE_CLASSES["NonPatientObject"])
    assert not storage & others
    assert (storage | others) - set(sop_class._YOUNGER.values()) == set(sop_class.STORAGE)


def test_every_current_sop_class_has_its_service(asked):
    """But the print class that nobody negotiates, a service without a list, and real-time video, which has no DIMSE."""
    placed = {uid for uids in sop_class.SERVICE_CLASSES.values() for uid in uids}
    current = {
        uid
        for uid, (_, kind, _, retired, _) in asked["dictionary"].items()
        if kind in ("SOP Class", "Meta SOP Class") and retired != "Retired"
    }
    assert keywords(asked, current - placed) == {
        "VOILUTBox",
        "InventoryCreation",
        "AudioWaveformRealTimeCommunication",
        "RenditionSelectionDocumentRealTimeCommunication",
        "VideoEndoscopicImageRealTimeCommunication",
        "VideoPhotographicImageRealTimeCommunication",
    }


def test_no_sop_class_has_two_services():
    placed = [uid for uids in sop_class.SERVICE_CLASSES.values() for uid in uids]
    assert len(placed) == len(set(placed))


def test_retired_classes_stand_only_in_storage_and_query_retrieve(asked):
    retired = {
        name
        for name, uids in sop_class.SERVICE_CLASSES.items()
        if any(asked["dictionary"][uid][3] == "Retired" for uid in set(uids) & asked["dictionary"].keys())
    }
    assert retired == {"Storage", "QueryRetrieve"}


def test_the_most_used_storage_classes_are_120_and_every_keyword_of_them_is_known():
    assert len(sop_class.MOST_USED_STORAGE) == 120
    assert {sop_class.uid_keyword(uid) for uid in sop_class.MOST_USED_STORAGE} == set(sop_class._MOST_USED.split())
    assert len(sop_class._MOST_USED.split()) == 120
    assert set(sop_class.MOST_USED_STORAGE) < set(sop_class.SERVICE_CLASSES["Storage"])


def test_the_uncompressed_transfer_syntaxes_begin_with_dicoms_default():
    """PS3.5 10.1: Implicit VR Little Endian is the one that everybody knows."""
    assert sop_class.UNCOMPRESSED == (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    )
    assert sop_class.TRANSFER_SYNTAXES["JPEGBaseline8Bit"] == "1.2.840.10008.1.2.4.50"


def test_the_default_transfer_syntaxes_are_pynetdicoms(asked):
    assert list(sop_class.UNCOMPRESSED) == asked["their_defaults"]


def test_all_transfer_syntaxes_are_those_of_the_dictionary_without_the_retired_ones_but_big_endian(asked):
    expected = {
        uid
        for uid, (_, kind, _, retired, keyword) in asked["dictionary"].items()
        if kind == "Transfer Syntax" and (retired != "Retired" or keyword == "ExplicitVRBigEndian")
    }
    assert set(asked["syntaxes"]) == expected
    assert len(asked["syntaxes"]) == len(expected)


def test_the_uncompressed_transfer_syntaxes_come_first_and_the_others_by_their_numbers(asked):
    assert tuple(asked["syntaxes"][:4]) == sop_class.UNCOMPRESSED
    numbers = [tuple(map(int, uid.split("."))) for uid in asked["syntaxes"][4:]]
    assert numbers == sorted(numbers)
    assert set(asked["syntaxes"]) <= set(sop_class.ALL_TRANSFER_SYNTAXES)
    assert all(isinstance(uid, UID) for uid in sop_class.ALL_TRANSFER_SYNTAXES)


def test_all_transfer_syntaxes_differ_from_pynetdicoms_by_what_the_dictionary_has_or_lacks(asked):
    ours, theirs = set(asked["syntaxes"]), set(asked["their_syntaxes"])
    assert keywords(asked, ours - theirs) == {"EncapsulatedUncompressedExplicitVRLittleEndian"}
    assert not (theirs - ours) & asked["dictionary"].keys()


def test_names_and_keywords_for_people_and_logs():
    assert sop_class.uid_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert sop_class.uid_keyword("1.2.840.10008.5.1.4.1.1.2") == "CTImageStorage"
    assert sop_class.uid_keyword("1.2.840.10008.1.2") == "ImplicitVRLittleEndian"


@pytest.mark.parametrize("uid", ["1.2.3", "", "CT\nx"])
def test_an_unknown_uid_is_its_own_name(uid):
    assert sop_class.uid_name(uid) == sop_class.uid_keyword(uid) == uid


@pytest.mark.parametrize("uid", NAMELESS)
def test_a_uid_that_the_dictionary_keeps_without_a_name_is_its_own_name(uid):
    assert sop_class.uid_keyword(uid) == sop_class.uid_name(uid) == uid


@pytest.mark.parametrize(
    ("uid", "type_"),
    [
        ("1.2.840.10008.1.1", "SOP Class"),
        ("1.2.840.10008.5.1.1.9", "Meta SOP Class"),
        ("1.2.840.10008.1.2", "Transfer Syntax"),
        ("1.2.840.10008.5.1.1.17", "Well-known SOP Instance"),
        ("1.2.3", ""),
        ("", ""),
    ],
)
def test_what_a_uid_names(uid, type_):
    assert sop_class.uid_type(uid) == type_
