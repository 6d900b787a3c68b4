"""SOP classes by keyword, and the groups of them that a configuration may name."""

from __future__ import annotations

import pynetdicom.sop_class
import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from scpd import sop_class
from scpd.names import is_uid

NAMELESS = ("1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40")


def test_a_keyword_is_its_uid():
    assert sop_class.CTImageStorage == "1.2.840.10008.5.1.4.1.1.2"
    assert sop_class.Verification == "1.2.840.10008.1.1"
    assert isinstance(sop_class.CTImageStorage, UID)


@pytest.mark.parametrize("name", ["NoSuchStorage", "ctimagestorage", "ExplicitVRLittleEndian", "__wrapped__"])
def test_what_the_dictionary_does_not_know_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"no SOP class '{name}'"):
        getattr(sop_class, name)


def test_dir_lists_the_keywords():
    assert {"CTImageStorage", "Verification", "STORAGE", "uid_name"} <= set(dir(sop_class))


@pytest.mark.parametrize("uid", sorted(set(pynetdicom.sop_class._STORAGE_CLASSES.values())))
def test_the_storage_group_has_every_storage_class_of_pynetdicom_that_pydicoms_dictionary_has(uid):
    assert uid in sop_class.STORAGE or uid not in UID_dictionary


def test_the_storage_group_holds_what_a_c_store_can_carry_and_nothing_else():
    """A storage class each, and the two whose names the dictionary lost with their retirement."""
    names = [sop_class.uid_name(uid) for uid in sop_class.STORAGE]
    assert [name for name in names if "Storage" not in name] == list(NAMELESS)
    assert not [name for name in names if "Commitment" in name or "Directory" in name]
    assert len(names) > 150


def test_no_group_has_a_class_twice_and_all_are_uids():
    for group in sop_class.GROUPS.values():
        assert len(set(group)) == len(group)
        assert all(is_uid(uid) for uid in group)


def test_the_uncompressed_transfer_syntaxes_begin_with_dicoms_default():
    """PS3.5 10.1: Implicit VR Little Endian is the one that everybody knows."""
    assert sop_class.UNCOMPRESSED == (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    )
    assert sop_class.TRANSFER_SYNTAXES["JPEGBaseline8Bit"] == "1.2.840.10008.1.2.4.50"


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
