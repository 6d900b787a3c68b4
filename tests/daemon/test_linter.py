"""What will be regretted: each warning where it belongs, once, and none where all is as it should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scpd.config import load
from scpd.daemon import mounts
from scpd.daemon.linter import contexts, secret_files
from scpd.daemon.surroundings import Surroundings
from scpd.sop_class import SOP_CLASSES, STORAGE, uid_keyword

EXAMPLES = Path(__file__).parents[2] / "config"
CT, MR, SR, KO = ("CTImageStorage", "MRImageStorage", "BasicTextSRStorage", "KeyObjectSelectionDocumentStorage")
SECRET = "correct-horse"
PEER = {"address": "10.0.0.9:104", "ae_title": "CT1"}
REST = {"deny": "all"}


@pytest.fixture
def look(tmp_path):
    """The surroundings of a configuration with its storage where it may be; keys of ``two`` make a second server."""

    def at(text: str | None = None, environ=None, **settings) -> Surroundings:
        path = tmp_path / "scpd.yaml"
        settings = {"bind": "127.0.0.1:0", "storage": {"directory": str(tmp_path / "store"), "reserve": 0}, **settings}
        if "two" in settings:
            settings["servers"] = [{}, settings.pop("two")]
        path.write_text(text or yaml.safe_dump(settings, sort_keys=False))
        return Surroundings(load(path, environ or {}))

    return at


@pytest.fixture
def warned(look):
    """The same, as ``key: what`` of each warning."""

    def at(*args, **settings) -> list[str]:
        one = look(*args, **settings)
        assert one.faults == []
        for sentence in one.warnings:
            place, _, what = sentence.split(": ", 2)
            assert Path(place.rpartition(":")[0]).name == "scpd.yaml"
            assert place.rpartition(":")[2].isdigit()
            assert ";" in what
        return [sentence.split(": ", 1)[1] for sentence in one.warnings]

    return at


def one(warnings: list[str], key: str, *words: str) -> None:
    """There is one warning, at ``key``, with ``words``."""
    assert len(warnings) == 1, warnings
    assert warnings[0].startswith(f"{key}: ")
    for each in words:
        assert each in warnings[0]


# -- the files that come with scpd


# A server for anybody, as a container has to be; a secret that is to be changed.
MEANT = {"container": ["bind"], "receive-and-hand-over": ["hooks[1].secret"]}


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_has_just_the_warnings_that_it_is_meant_to_have(example, tmp_path, certificates):
    """As it stands but for the places of its files, and for the room on the disk of whoever tests."""
    text = example.read_text().replace("/etc/scpd", str(certificates))
    text = text.replace("/var/lib/scpd", f"{tmp_path}/lib").replace("scpd-data", f"{tmp_path}/data")
    text = text.replace("/usr/local/bin/archive-study", "/bin/true")
    config = tmp_path / example.name
    config.write_text(text)
    config.chmod(0o644)
    found = Surroundings(load(config, {}))
    assert found.faults == []
    told = [sentence.split(": ")[1] for sentence in found.warnings if "less than storage.reserve" not in sentence]
    assert told == MEANT.get(example.stem, [])


@pytest.fixture
def certificates(tmp_path):
    """What secure.yaml names, made as its first lines say."""
    trustme = pytest.importorskip("trustme")
    folder = tmp_path / "etc"
    folder.mkdir()
    ca = trustme.CA()
    own = ca.issue_cert("archive.hospital.example")
    ca.cert_pem.write_to_path(folder / "ca.crt")
    own.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(pem.bytes() for pem in own.cert_chain_pems))
    (folder / "users").write_text("")
    for path in folder.iterdir():
        path.chmod(0o640)
    return folder


# -- titles


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"ae_title": "ARCHIVE", "two": {"ae_title": "Archive"}}, "ae_title"),
        ({"ae_title": "ct1", "peers": {"A": PEER}}, "peers.A.ae_title"),
        ({"peers": {"A": PEER, "B": {**PEER, "ae_title": "Ct1"}}}, "peers.B.ae_title"),
        ({"ae_title": "ARCHIVE", "access": [{"allow": {"called": "Archive"}}, REST]}, "access[0]"),
        ({"ae_title": "ARCHIVE", "access": [{"allow": {"called": ["X", "Arch*"]}}, REST]}, "access[0]"),
        ({"peers": {"A": PEER}, "access": [{"allow": {"calling": "ct?"}}, REST]}, "access[0]"),
    ],
)
def test_a_title_in_other_letters_is_told(warned, settings, key):
    one(warned(**settings), key, "in other letters", "scpd.yaml:")


@pytest.mark.parametrize(
    "settings",
    [
        {"ae_title": "ARCHIVE", "two": {"ae_title": "ARCHIVE"}},
        {"ae_title": "ARCHIVE", "two": {"ae_title": "ARCHIVE2"}},
        {"ae_title": "CT1", "peers": {"A": PEER, "B": PEER}},
        {"ae_title": "ARCHIVE", "access": [{"allow": {"called": ["Archive", "ARCHIVE"]}}, REST]},
        {"ae_title": "ARCHIVE", "access": [{"allow": {"called": "*"}}, REST]},
        {"ae_title": "ARCHIVE", "access": [{"allow": {"called": "OTHER"}}, REST]},
        {"peers": {"A": PEER}, "access": [{"allow": {"called": "ct1", "calling": "CT1"}}, REST]},
    ],
)
def test_other_titles_are_no_matter(warned, settings):
    assert warned(**settings) == []


def test_a_title_from_a_secret_is_not_told(look, tmp_path):
    (tmp_path / "title").write_text("S3cretTitle")
    (tmp_path / "title").chmod(0o600)
    found = look(ae_title=f"file:{tmp_path}/title", two={"ae_title": "S3CRETTITLE"})
    assert len(found.warnings) == 1
    assert "s3cret" not in found.warnings[0].lower()


# -- contexts


def entry(classes, syntaxes="default", **roles):
    return {"sop_classes": classes, "transfer_syntaxes": syntaxes, **roles}


def test_an_entry_that_later_ones_replace_is_told(warned):
    one(warned(contexts=[entry(CT, "JPEGBaseline8Bit"), "verification", "storage"]), "contexts[0]", "which replaces it")


def test_an_entry_that_two_later_ones_replace_together_is_told(warned):
    one(warned(contexts=[entry([CT, MR]), entry(CT, "all"), entry(MR, "all")]), "contexts[0]", "which replaces it")


@pytest.mark.parametrize(
    "listed",
    [
        ["verification", "storage"],
        [entry("storage", "all"), entry(CT, "JPEG2000Lossless")],
        [entry([CT, MR]), entry(CT, "all")],
        [entry(["verification", "storage"], "all")],
        [entry([SR, CT], ["default", "JPEG2000Lossless"])],
        [entry("storage", ["default", "JPEGBaseline8Bit"])],
        [entry(SR, "DeflatedExplicitVRLittleEndian")],
        [entry(SR, "all")],
        [entry(SR, "1.2.3.4.5")],
        [entry("1.2.3.4.5", "JPEGBaseline8Bit")],
        [entry("RawDataStorage", "JPEGBaseline8Bit")],
        [entry(CT, scu_role=True, scp_role=False)],
    ],
)
def test_entries_that_are_of_use_are_not(warned, listed):
    assert warned(contexts=listed) == []


@pytest.mark.parametrize(
    "name",
    [SR, KO, "Verification", "GrayscaleSoftcopyPresentationStateStorage", "EncapsulatedPDFStorage", "RTPlanStorage"]
    + ["TwelveLeadECGWaveformStorage", "SpatialRegistrationStorage"],
)
@pytest.mark.parametrize("syntax", ["JPEGBaseline8Bit", "RLELossless", "MPEG4HP41", "HTJ2KLossless", "JPIPReferenced"])
def test_a_class_without_pixel_data_in_syntaxes_for_it_alone_cannot_be_served(warned, name, syntax):
    one(warned(contexts=[entry([CT, name], syntax)]), "contexts[0]", name, "cannot be sent at all")


def test_several_such_classes_are_counted(warned):
    one(warned(contexts=[entry([SR, KO, MR], "JPEG2000")]), "contexts[0]", f"{SR}, as one of 2, cannot be sent")


def test_a_syntax_that_no_class_of_its_entry_can_have_is_told(warned):
    one(warned(contexts=[entry([SR, KO], ["default", "JPEGBaseline8Bit"])]), "contexts[0]", "JPEGBaseline8Bit is for")


def test_a_class_that_a_later_entry_replaces_counts_there_alone(warned):
    assert warned(contexts=[entry([SR, CT], "JPEGBaseline8Bit"), entry(SR)]) == []


def test_roles_that_are_both_refused_are_told(warned):
    one(warned(contexts=[entry(CT, scu_role=False, scp_role=False)]), "contexts[0]", "has the context rejected")


def test_no_class_of_images_is_taken_for_one_without_pixel_data():
    """By what the standard calls them: whatever has Image, Dose, Map or Segmentation in its name may hold some."""
    without = {uid_keyword(uid) for uid in STORAGE if not contexts._may_hold_pixels(uid)}
    assert {name for name in without if "Image" in name} == set()
    assert not without & {"RTDoseStorage", "SegmentationStorage", "ParametricMapStorage", "CornealTopographyMapStorage"}
    assert not without & {"RawDataStorage", "EnhancedUSVolumeStorage", "StandaloneOverlayStorage"}
    assert len(without) > 80
    assert {SR, KO, "RTStructureSetStorage"} <= without


def test_every_word_for_a_class_without_pixel_data_is_one_of_the_dictionary():
    for word in contexts._WITHOUT_PIXELS:
        assert any(word in keyword for keyword in SOP_CLASSES), word


# -- what is held

ARCHIVE = {"contexts": ["verification", "storage", "query_retrieve", "storage_commitment"], "index": {}}


def test_an_archive_with_peers_is_fine(warned):
    assert warned(**ARCHIVE, peers={"A": PEER}) == []
    assert warned(**{**ARCHIVE, "index": "deferred"}, peers={"A": PEER}) == []


def test_services_that_need_peers_are_told_where_there_are_none(warned):
    move, commitment = warned(**ARCHIVE)
    assert move.startswith("contexts[2]: C-MOVE can send to nobody")
    assert commitment.startswith("contexts[3]: who has asked for storage commitment and left cannot be told")


@pytest.mark.parametrize("operation", ["Find", "Get"])
def test_services_that_need_no_peers_are_not_told(warned, operation):
    name = f"StudyRootQueryRetrieveInformationModel{operation}"
    assert warned(contexts=["verification", "storage", name], index={}) == []


@pytest.mark.parametrize(
    ("storage", "told"),
    [([], True), ([entry(CT, scu_role=True, scp_role=False)], True), ([entry(CT)], False), (["storage"], False)],
)
def test_a_get_that_can_send_nothing_is_told(warned, storage, told):
    name = "StudyRootQueryRetrieveInformationModelGet"
    warnings = warned(contexts=["verification", name, *storage], index={})
    assert warnings == [] if not told else one(warnings, "contexts[1]", "C-GET can send nothing back") is None


def test_models_in_syntaxes_for_pixel_data_are_told(warned):
    entries = ["storage", entry("query_retrieve", "JPEGBaseline8Bit")]
    one(warned(contexts=entries, index={}, peers={"A": PEER}), "contexts[1]", "cannot be sent at all")


@pytest.mark.parametrize(
    ("kind", "told"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False), ("fuse.bindfs", False), ("overlay", False)],
)
@pytest.mark.parametrize("index", [{}, {"url": "sqlite:///FOLDER/my disk/new/index.db"}])
def test_an_index_on_a_network_file_system_is_told(warned, tmp_path, monkeypatch, kind, told, index):
    (tmp_path / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/y rw\n"
        f"36 35 0:9 / {str(tmp_path).replace(' ', chr(92) + '040')}/my\\040disk rw shared:1 - {kind} host:/x rw\n\n"
    )
    monkeypatch.setattr(mounts, "MOUNTED", tmp_path / "mountinfo")
    index = {key: value.replace("FOLDER", str(tmp_path)) for key, value in index.items()}
    warnings = warned(index=index, storage={"directory": f"{tmp_path}/my disk/store", "reserve": 0})
    assert warnings == [] if not told else one(warnings, "index.url", f"network file system ({kind})") is None


def test_an_index_beside_a_network_file_system_is_not_told(warned, tmp_path, monkeypatch):
    (tmp_path / "mountinfo").write_text(
        f"1 0 8:1 / / rw - ext4 /dev/y rw\n36 35 0:9 / {tmp_path}/nas rw - nfs4 host:/x rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTED", tmp_path / "mountinfo")
    storage = {"directory": f"{tmp_path}/nas/store", "reserve": 0}
    assert warned(index={"url": f"sqlite:///{tmp_path}/nas2/index.db"}, storage=storage) == []
    (tmp_path / "mountinfo").unlink()
    assert warned(index={}, storage=storage) == []


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({}, None, True),
        ({}, {"url": "sqlite:///FOLDER/other.db"}, True),
        ({}, {}, False),
        (None, None, False),
        ({}, {"url": "sqlite:///FOLDER/store/.index/index.db"}, False),
        ({"write": "required"}, {"write": "deferred"}, False),
    ],
)
def test_servers_that_write_one_directory_down_in_two_places_are_told(warned, tmp_path, first, second, told):
    def of(index):
        return index and {key: value.replace("FOLDER", str(tmp_path)) for key, value in index.items()}

    warnings = warned(index=of(first), two={"index": of(second)})
    assert (
        warnings == [] if not told else one(warnings, "index", "for the same storage.directory", "scpd.yaml:") is None
    )


@pytest.mark.parametrize(
    ("url", "mode", "told"),
    [
        (f"postgresql://scpd:{SECRET}@db/scpd", 0o644, True),
        (f"postgresql://scpd:{SECRET}@db/scpd", 0o600, False),
        ("postgresql://scpd@db/scpd", 0o644, False),
        ("sqlite:////var/lib/scpd/index.db", 0o644, False),
        ("${URL}", 0o644, False),
    ],
)
@pytest.mark.parametrize("where", ["top", "server"])
def test_the_password_of_a_database_in_clear_is_told(tmp_path, url, mode, told, where):
    config = tmp_path / "scpd.yaml"
    section = {"index": {"url": url}}
    config.write_text(yaml.safe_dump(section if where == "top" else {"servers": [section]}))
    config.chmod(mode)
    found = list(secret_files.readable(load(config, {"URL": f"postgresql://scpd:{SECRET}@db/scpd"})))
    assert [key for _, key, _ in found] == ["index.url"] * told
    assert all("stands in clear" in what and SECRET not in what for _, _, what in found)


# -- rules that never match


LAN, CT1 = {"address": "10.0.0.0/8"}, {"calling": "CT1"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LAN, {"address": "10.1.0.0/16"}),
        (LAN, {"address": ["10.1.0.0/16", "10.2.0.1"], **CT1}),
        ({"address": ["10.0.0.0/9", "10.128.0.0/9"]}, {"address": "10.200.0.1"}),
        ({"address": "fd00::/8"}, {"address": "fd00:1::/32"}),
        ({"calling": "CT*"}, {**LAN, **CT1}),
        ({"calling": "CT*"}, {"calling": "CT?1*"}),
        ({"calling": "CT?"}, CT1),
        ({"calling": ["A", "CT1"]}, CT1),
        ({**LAN, "calling": "*"}, {"address": "10.0.0.1", "calling": ["CT1", "MR*"]}),
        ({"calling": "CT*", "titles": "lenient"}, {**CT1, "titles": "lenient"}),
    ],
)
@pytest.mark.parametrize("words", [("allow", "allow"), ("deny", "allow"), ("deny", "deny")])
def test_a_rule_that_an_earlier_one_covers_is_told(warned, first, second, words):
    rules = [{words[0]: first}, {"allow": {"calling": "QQ", "address": "192.0.2.1"}}, {words[1]: second}, REST]
    one(warned(bind="[::]:0", access=rules), "access[2]", "is never asked, since access[0] before it takes everybody")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"allow": {"address": "10.1.0.0/16"}}, {"allow": LAN}),
        ({"allow": LAN}, {"allow": {"address": ["10.1.0.0/16", "192.0.2.0/24"]}}),
        ({"allow": LAN}, {"allow": {"address": "fd00::/8"}}),
        ({"allow": {**LAN, **CT1}}, {"allow": LAN}),
        ({"allow": {**LAN, **CT1}}, {"allow": {**LAN, "calling": "CT2"}}),
        ({"allow": {"calling": "CT?"}}, {"allow": {"calling": "CT*"}}),
        ({"allow": {"calling": "CT??"}}, {"allow": {"calling": "CT?"}}),
        ({"allow": CT1}, {"allow": {"calling": "ct1"}}),
        ({"allow": CT1}, {"allow": {**CT1, "titles": "lenient"}}),
        ({"allow": CT1}, {"deny": CT1}),
        ({"deny": CT1}, {"deny": {"calling": "*"}}),
    ],
)
def test_a_rule_that_somebody_is_left_for_is_not(warned, first, second):
    """The last but one: a rule that denies also takes a title that is padded with NUL, which one that allows does not."""
    assert warned(bind="[::]:0", access=[first, second, REST]) == []


def test_of_the_rules_after_one_for_everybody_the_first_is_told(warned):
    warnings = warned(access=[{"deny": "all"}, {"allow": CT1}, {"allow": LAN}, REST])
    one(warnings, "access[1]", "access[0] before it is about everybody; put that one at the end")


def test_a_rule_that_one_server_asks_is_of_use(warned):
    rules = [{"allow": {"server": "a", **LAN}}, {"allow": {"address": "10.1.0.0/16"}}, REST]
    assert warned(access=rules, name="a", two={"name": "b"}) == []
    one(warned(access=rules, name="a", two={"name": "a2", "access": []}), "access[1]", "is never asked")


def test_a_rule_about_no_server_is_told(warned):
    rules = [{"allow": {"server": "serch*", **LAN}}, REST]
    one(warned(access=rules, name="research", two={"name": "archive"}), "access[0]", "is about none of the servers")


@pytest.mark.parametrize("word", ["allow", "deny"])
def test_a_called_title_that_is_rejected_anyway_is_told(warned, word):
    rules = [{word: {"called": ["OTHER", "X*"]}}, REST]
    one(warned(access=rules, called_ae_title="check"), "access[0]", "called_ae_title is check")
    assert warned(access=rules) == []
    assert warned(access=[{word: {"called": ["OTHER", "S*"]}}, REST], called_ae_title="check") == []


@pytest.mark.parametrize(
    ("services", "told"),
    [
        ({"services": "verification"}, True),
        ({"sop_classes": [MR, SR]}, True),
        ({"services": "verification", "sop_classes": CT}, False),
        ({"services": "storage"}, False),
        ({}, False),
    ],
)
def test_a_rule_that_allows_nothing_the_server_has_is_told(warned, services, told):
    warnings = warned(contexts=[CT], access=[{"allow": {**CT1, **services}}, REST])
    assert warnings == [] if not told else one(warnings, "access[0]", "that contexts has not") is None


@pytest.mark.parametrize(
    ("bind", "address", "told"),
    [
        ("127.0.0.1:0", "fd00::/8", True),
        ("0.0.0.0:0", ["fd00::/8", "::1"], True),
        ("[::1]:0", "10.0.0.0/8", True),
        ("[::]:0", "10.0.0.0/8", False),
        ("0.0.0.0:0", ["fd00::/8", "10.0.0.0/8"], False),
        ("localhost:0", "fd00::/8", False),
    ],
)
def test_a_rule_about_addresses_that_cannot_come_here_is_told(warned, bind, address, told):
    warnings = warned(bind=bind, access=[{"allow": {"address": address}}, REST])
    assert warnings == [] if not told else one(warnings, "access[0]", "it never matches") is None


@pytest.mark.parametrize(
    ("rule", "providers", "words"),
    [
        ({"users": "bob"}, [{"users": "alice"}], "that no provider knows"),
        ({"users": "b*"}, [{"users": ["alice", "bob"]}], ""),
        ({"roles": "doctor"}, [{"users": "alice", "roles": "nurse"}], "that no provider knows"),
        ({"roles": "doctor"}, [{"users": "alice", "roles": "nurse"}, {"users": "bob", "roles": "doctor"}], ""),
        ({"roles": "doctor"}, [{"users": "alice"}], "no provider gives any"),
    ],
)
def test_a_rule_about_users_who_cannot_come_is_told(warned, rule, providers, words):
    section = {"providers": [{"kind": "usernames", **each} for each in providers]}
    warnings = warned(access=[{"allow": rule}, REST], user_identity=section)
    assert warnings == [] if not words else one(warnings, "access[0]", words) is None


def test_users_of_a_file_may_be_added_later(warned, tmp_path):
    (tmp_path / "users").write_text("")
    (tmp_path / "users").chmod(0o640)
    section = {"providers": [{"kind": "passwords", "file": str(tmp_path / "users")}]}
    assert warned(access=[{"allow": {"users": "bob", "roles": "x"}}, REST], user_identity=section) == []


# -- addresses


@pytest.mark.parametrize(
    ("first", "second"),
    [("localhost", "127.0.0.1"), ("[::ffff:127.0.0.1]", "127.0.0.1")],
)
def test_two_names_of_one_address_are_a_fault_at_the_second(look, first, second, tmp_path):
    found = look(bind=f"{first}:104", two={"bind": f"{second}:104"})
    assert len(found.faults) == 1
    assert f": bind: {second} and what {tmp_path}/scpd.yaml:1 names are one address; write another" in found.faults[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [("localhost:104", "127.0.0.1:105"), ("localhost:104", "127.0.0.2:104"), ("localhost:0", "127.0.0.1:0")],
)
def test_two_addresses_are_none(look, first, second):
    assert look(bind=first, two={"bind": second}).faults == []


def test_both_families_are_one_address_where_the_system_says_so(look):
    only = Path("/proc/sys/net/ipv6/bindv6only")
    if not only.exists():
        pytest.skip("this machine has no IPv6")
    found = look(bind="[::]:104", two={"bind": "0.0.0.0:104"})
    assert len(found.faults) == (0 if only.read_text().strip() == "1" else 1)


def test_the_admin_endpoint_is_compared_too(look):
    found = look(bind="localhost:104", admin={"bind": "127.0.0.1:104"})
    assert [fault.split(": ")[1] for fault in found.faults] == ["admin.bind"]


# -- where instances go


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        ("a", "a/b", ["storage.directory"]),
        ("a/b", "a", ["storage.directory"]),
        ("a", "b", []),
        ("a", "ab", []),
        ("a", "link/b", ["storage.directory"]),
    ],
)
def test_a_directory_within_another_is_told(warned, tmp_path, first, second, keys):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    here, there = ({"directory": f"{tmp_path}/{name}", "reserve": 0} for name in (first, second))
    assert [each.split(": ")[0] for each in warned(storage=here, two={"storage": there})] == keys


@pytest.mark.parametrize(
    ("other", "keys"),
    [
        ({"duplicates": "keep"}, ["storage.duplicates"]),
        ({"path": "{SOPInstanceUID}"}, ["storage.path"]),
        ({"duplicates": "reject", "path": "{SOPInstanceUID}"}, ["storage.duplicates", "storage.path"]),
        ({"durability": "none"}, []),
        ({}, []),
    ],
)
def test_one_directory_under_two_rules_is_told(warned, other, keys):
    assert [each.split(": ")[0] for each in warned(two={"storage": other})] == keys


def test_less_room_than_the_reserve_is_told(warned, tmp_path):
    warnings = warned(storage={"directory": str(tmp_path / "store"), "reserve": f"{1024 * 1024}GiB"})
    one(warnings, "storage.directory", f"the disk of {tmp_path} has", "less than storage.reserve", "A700")


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The system's tables of mounts, as a test writes them."""
    for name, field in (("fstab", "FSTAB"), ("mountinfo", "MOUNTED")):
        (tmp_path / name).write_text("")
        monkeypatch.setattr(mounts, field, tmp_path / name)
    monkeypatch.setattr(mounts, "FOR_MOUNTS", (tmp_path / "mnt",))

    def write(meant: list[Path], mounted: list[Path]) -> None:
        shown = {path: str(path).replace(" ", "\\040") for path in (*meant, *mounted)}
        (tmp_path / "fstab").write_text(
            "# a comment\n\nUUID=1 none swap sw 0 0\n"
            + "".join(f"/dev/x {shown[one]} ext4 noauto 0 2\n" for one in meant)
        )
        (tmp_path / "mountinfo").write_text(
            "".join(f"36 35 98:0 / {shown[one]} rw - ext4 /dev/x rw\n" for one in (Path("/"), *mounted) if one in shown)
            + "1 0 8:1 / / rw - ext4 /dev/y rw\n"
        )

    return write


@pytest.mark.parametrize(
    ("meant", "mounted", "told"),
    [
        (["data"], [], True),
        (["my data"], [], True),
        (["data"], ["data"], False),
        (["data"], ["data/deeper"], False),
        (["data/deeper"], ["data"], True),
        (["database"], [], False),
        ([], [], False),
    ],
)
def test_a_disk_that_is_not_mounted_is_told(warned, tables, tmp_path, meant, mounted, told):
    directory = tmp_path / ("my data" if meant == ["my data"] else "data") / "deeper" / "store"
    directory.mkdir(parents=True)
    tables([tmp_path / each for each in meant], [tmp_path / each for each in mounted])
    warnings = warned(storage={"directory": str(directory), "reserve": 0})
    assert warnings == [] if not told else one(warnings, "storage.directory", "fstab has", "; mount it") is None


def test_without_a_table_of_what_is_mounted_nothing_is_said(warned, tables, tmp_path):
    tables([tmp_path / "data"], [])
    (tmp_path / "mountinfo").unlink()
    assert warned(storage={"directory": str(tmp_path / "data/store"), "reserve": 0}) == []


@pytest.mark.parametrize(
    ("directory", "mounted", "told"),
    [
        ("mnt/nas/store", [], True),
        ("mnt/store", [], False),
        ("mnt/nas", [], False),
        ("mnt/nas/store", ["mnt/nas"], False),
        ("mnt/nas/store", ["mnt"], False),
        ("srv/nas/store", [], False),
    ],
)
def test_an_empty_place_for_mounts_is_told(warned, tables, tmp_path, directory, mounted, told):
    """Not one that holds something, nor one that is the directory itself: somebody made that on purpose."""
    for folder in ("mnt/nas", "srv/nas"):
        (tmp_path / folder).mkdir(parents=True)
    tables([], [tmp_path / each for each in mounted])
    warnings = warned(storage={"directory": str(tmp_path / directory), "reserve": 0})
    assert warnings == [] if not told else one(warnings, "storage.directory", "nothing is mounted there") is None


def in_its_own_mounts(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A shell that may mount what nobody else sees."""
    able = os.geteuid() == 0 and shutil.which("unshare")
    if not able or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        if os.environ.get("CI"):
            pytest.fail("mounts of one's own are not possible here, and in CI no fault may be missing")
        pytest.skip("mounts of one's own are not possible here")
    return subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CHECK = f"{sys.executable} -m scpd check $1"


@pytest.fixture
def on_a_disk(tmp_path):
    """A configuration whose storage lies on ``tmp_path/disk``, where a test mounts something."""
    (tmp_path / "disk").mkdir()
    config = tmp_path / "scpd.yaml"
    config.write_text(f"storage: {{directory: {tmp_path}/disk/store, reserve: 1MiB}}\n")
    return config, tmp_path / "disk"


def test_a_disk_that_is_mounted_read_only_is_a_fault(on_a_disk):
    """Even for root: no store can be opened there, and scpd run ends at once."""
    found = in_its_own_mounts(f"mount -t tmpfs -o ro none $2; {CHECK}", *on_a_disk)
    assert found.returncode == 78
    assert f"{on_a_disk[1]} cannot be written to: it is mounted read-only; mount it for writing" in found.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [("size=512k", "has 0.0 GiB free, less than storage.reserve"), ("nr_inodes=100", "inodes free; remove files")],
)
def test_a_disk_without_room_is_a_warning(on_a_disk, options, words):
    found = in_its_own_mounts(f"mount -t tmpfs -o {options} none $2; {CHECK}", *on_a_disk)
    assert found.returncode == 0
    (warning,) = [line for line in found.stdout.splitlines() if line.startswith("warning: ")]
    assert words in warning
    assert ": storage.directory: " in warning


# -- secrets that everybody can read


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
@pytest.mark.parametrize("key", ["name", "peers.X.ae_title"])
def test_a_secret_that_everybody_can_read_is_told(warned, tmp_path, mode, told, key):
    secret = tmp_path / "secret"
    secret.write_text("ARCHIVE")
    secret.chmod(mode)
    reference = f"file:{secret}"
    settings = {"name": reference} if key == "name" else {"peers": {"X": {**PEER, "ae_title": reference}}}
    words = f"{secret} is readable by every user of this machine; chmod o-r {secret}"
    warnings = warned(**settings)
    assert warnings == [] if not told else one(warnings, key, words) is None


PASSWORD = "S3CRET-of-the-key"


@pytest.mark.parametrize(
    ("value", "mode", "told"),
    [
        (PASSWORD, 0o644, True),
        (PASSWORD, 0o600, False),
        ("${KEY_PASSWORD}", 0o644, False),
        ("file:FOLDER/p", 0o644, False),
    ],
)
@pytest.mark.parametrize("key", ["tls.key_password", "peers.X.tls.key_password", "admin.token"])
def test_a_secret_in_clear_in_a_file_for_all_is_told(tmp_path, certificates, value, mode, told, key):
    """Nor is a secret told that came from the environment, or from a file of its own."""
    secret, config = tmp_path / "p", tmp_path / "scpd.yaml"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    tls = {"certificate": f"{certificates}/tls.crt", "key": f"{certificates}/tls.key", "ca": f"{certificates}/ca.crt"}
    tls["key_password"] = value.replace("FOLDER", str(tmp_path))
    settings = {
        "tls.key_password": {"tls": tls},
        "peers.X.tls.key_password": {"peers": {"X": {**PEER, "tls": tls}}},
        "admin.token": {"admin": {"token": value.replace("FOLDER", str(tmp_path))}},
    }[key]
    config.write_text(yaml.safe_dump({"storage": {"directory": f"{tmp_path}/s", "reserve": 0}, **settings}))
    config.chmod(mode)
    found = Surroundings(load(config, {"KEY_PASSWORD": PASSWORD}))
    assert found.faults == []
    told_of = [sentence for sentence in found.warnings if "in clear" in sentence]
    assert len(told_of) == told
    assert all(f": {key}: " in sentence and PASSWORD not in sentence for sentence in told_of)


@pytest.mark.parametrize(
    ("url", "told"), [(f"http://h/a?t={PASSWORD}", True), ("http://h/a", False), ("${URL}", False)]
)
def test_an_address_with_a_secret_in_clear_is_told(tmp_path, url, told):
    config = tmp_path / "scpd.yaml"
    hook = {"kind": "webhook", "name": "a", "on": "study", "url": url, "secret": "${URL}"}
    config.write_text(yaml.safe_dump({"hooks": [hook]}))
    config.chmod(0o644)
    found = list(secret_files.readable(load(config, {"URL": f"http://h/a?t={PASSWORD}"})))
    assert [key for _, key, _ in found] == ["hooks[0].url"] * told


def test_a_keytab_that_everybody_can_read_is_told(tmp_path):
    keytab, config = tmp_path / "keytab", tmp_path / "scpd.yaml"
    keytab.write_bytes(b"")
    section = {"providers": [{"kind": "kerberos", "keytab": str(keytab), "service": "dicom/pacs.example"}]}
    config.write_text(yaml.safe_dump({"user_identity": section}))
    for mode, told in ((0o644, 1), (0o640, 0)):
        keytab.chmod(mode)
        found = list(secret_files.readable(load(config, {})))
        assert [key for _, key, _ in found] == ["user_identity.providers[0].keytab"] * told
        assert all(what.endswith(f"chmod o-r {keytab}") for _, _, what in found)


# -- what looking costs


def test_a_plain_configuration_is_looked_at_without_what_it_does_not_ask_for(tmp_path):
    """No connection, provider or certificate is imported: a check is done before anybody waits for it."""
    (tmp_path / "scpd.yaml").write_text(f"storage: {{directory: {tmp_path}/s, reserve: 0}}\n")
    program = (
        "import sys; from scpd.cli.main import main\n"
        f"assert main(['check', '{tmp_path}/scpd.yaml']) == 0\n"
        "rooms = ('scpd.transport', 'scpd.server', 'scpd.identity.policy', 'scpd.wire', 'cryptography', 'structlog')\n"
        "print(sorted(name for name in sys.modules if name.startswith(rooms)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_thousand_rules_are_compared_within_bounds(look):
    """Comparing each with each would take the square of their number; what is said first is still right."""
    rules = [{"allow": {"address": f"10.{n // 250}.{n % 250}.0/24", "calling": f"CT{n}"}} for n in range(1000)]
    rules.insert(1, {"allow": {"address": "10.0.0.1", "calling": "CT0"}})
    found = look(access=[*rules, REST])
    assert [sentence.split(": ")[1] for sentence in found.warnings] == ["access[1]"]
