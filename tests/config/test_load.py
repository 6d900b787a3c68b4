"""A file gives a configuration, or every fault at once with its line, and nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd import sop_class
from scpd.config import Config, ContextConfig, Endpoint, LimitsConfig, ServerConfig, StorageConfig, load
from scpd.errors import ConfigurationError

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parents[2] / "config"
ENVIRON = {"PORT": "99999", "WORD": "abc", "EMPTY": ""}

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def text(tmp_path):
    def load_text(content, environ=None):
        path = tmp_path / "scpd.yaml"
        path.write_text(content)
        return load(path, environ or {})

    return load_text


def faults(call, *args):
    with pytest.raises(ConfigurationError) as caught:
        call(*args)
    return caught.value.faults


def test_without_a_file_there_is_the_default():
    config = load(None)
    (server,) = config.servers
    assert (server.name, server.ae_title, server.bind) == ("SCPD", "SCPD", Endpoint("127.0.0.1", 11112))
    assert {each.abstract_syntax for each in server.supported()} == {*sop_class.VERIFICATION, *sop_class.STORAGE}
    assert config.where("SCPD", "bind") == "default"


def test_the_defaults_are_those_of_the_design():
    server = load(None).servers[0]
    assert server.limits.model_dump() == {
        "associations": 200,
        "associations_per_address": 50,
        "pending": 256,
        "pending_per_address": 64,
        "association_request": 1024**2,
        "pdu_length": 256 * 1024,
        "command_set": 64 * 1024,
        "data_set": 8 * 1024**3,
        "find_results": 100_000,
        "minimum_rate": 512,
        "rate_per_address": (0, 0.0),
        "rate_per_title": (0, 0.0),
    }
    assert server.timeouts.model_dump() == {"artim": 30, "idle": 600, "message": 60, "write": 60, "shutdown": 30}
    assert server.storage == StorageConfig(
        directory="scpd-data",
        path="{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
        duplicates="replace",
        durability="fsync",
        reserve="5GiB",
        verify="lenient",
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_each_faulty_file_has_just_the_faults_beside_it(name, monkeypatch):
    monkeypatch.chdir(GOLDEN)
    expected = Path(f"{name}.faults").read_text().splitlines()
    assert list(faults(load, Path(f"{name}.yaml"), ENVIRON)) == expected


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.faults")), ids=lambda path: path.stem)
def test_each_fault_says_where_what_and_what_to_do(path):
    for fault in path.read_text().splitlines():
        assert re.match(rf"{path.stem}\.yaml(:\d+)?: .+[;?]", fault)
        assert not re.search(r"pydantic|Input should|validation|valid is_|Traceback", fault)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads(path):
    assert load(path, {}).servers


def test_what_make_run_starts():
    (server,) = load(EXAMPLES / "scpd.yaml", {}).servers
    assert (server.ae_title, server.bind) == ("SCPD", Endpoint("127.0.0.1", 11112))
    assert server.storage.directory == Path("scpd-data")
    by_uid = {each.abstract_syntax: each for each in server.supported()}
    assert len(by_uid) == len(sop_class.STORAGE) + 1
    assert set(by_uid[CT].transfer_syntaxes) == set(sop_class.TRANSFER_SYNTAXES.values())


# -- contexts


def supported(config):
    return {each.abstract_syntax: each for each in config.servers[0].supported()}


def test_a_context_is_a_group_a_keyword_or_a_uid(text):
    found = supported(text("contexts: [verification, CTImageStorage, 1.2.840.10008.5.1.4.1.1.4, 1.2.3.4.5]\n"))
    assert list(found) == ["1.2.840.10008.1.1", CT, "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.5"]
    assert found[CT] == ContextConfig(CT, tuple(str(uid) for uid in sop_class.UNCOMPRESSED), None, None)


def test_a_later_entry_replaces_an_earlier_one_of_the_same_sop_class(text):
    found = supported(
        text(
            "contexts:\n"
            "  - {sop_classes: storage, transfer_syntaxes: all, scu_role: true, scp_role: false}\n"
            "  - {sop_classes: CTImageStorage, transfer_syntaxes: ImplicitVRLittleEndian}\n"
        )
    )
    assert found[CT] == ContextConfig(CT, ("1.2.840.10008.1.2",), None, None)
    mr = found["1.2.840.10008.5.1.4.1.1.4"]
    assert len(mr.transfer_syntaxes) == len(sop_class.TRANSFER_SYNTAXES)
    assert (mr.scu_role, mr.scp_role) == (True, False)


def test_transfer_syntaxes_keep_their_order_and_stand_once(text):
    listed = "[JPEG2000Lossless, default, ImplicitVRLittleEndian, 1.2.840.113619.5.2]"
    found = supported(text(f"contexts: [{{sop_classes: CTImageStorage, transfer_syntaxes: {listed}}}]\n"))
    assert found[CT].transfer_syntaxes == (
        "1.2.840.10008.1.2.4.90",
        *(str(uid) for uid in sop_class.UNCOMPRESSED),
        "1.2.840.113619.5.2",
    )


def test_the_uids_are_plain_text(text):
    for each in supported(text("contexts: [storage]\n")).values():
        assert {type(uid) for uid in (each.abstract_syntax, *each.transfer_syntaxes)} == {str}


# -- what a program gets


def test_a_configuration_cannot_be_changed():
    config = load(None)
    for holder, key in [(config, "logging"), (config.servers[0], "bind"), (config.servers[0].limits, "pending")]:
        with pytest.raises(ValueError, match="frozen"):
            setattr(holder, key, None)
    assert hash(config) == hash(load(None))


def test_two_configurations_are_equal_when_they_say_the_same(text):
    assert text("limits: {pdu_length: 262144}\n") == text("# moved\nlimits:\n  pdu_length: 256KiB\n")
    assert text("ae_title: A\n") != text("ae_title: B\n")


def test_a_program_may_build_a_configuration_without_a_file():
    config = Config(servers=(ServerConfig(limits=LimitsConfig(pending=5)), ServerConfig(ae_title="B")))
    assert [server.name for server in config.servers] == ["SCPD", "B"]
    assert config.where("SCPD", "limits.pending") == "default"


# -- what a secret's file holds is never told


@pytest.mark.parametrize(
    "key",
    ["ae_title: {}", "bind: {}", "limits: {{pending: {}}}", "limits: {}", "logging: {{level: {}}}", "contexts: [{}]"],
)
def test_a_fault_of_a_secret_names_its_file_and_not_its_content(text, tmp_path, key):
    (tmp_path / "secret").write_text("S3CRET-and-much-too-long")
    (fault,) = faults(text, key.format(f"file:{tmp_path}/secret") + "\n")
    assert "S3CRET" not in fault
    assert f"what file:{tmp_path}/secret holds is no valid value here" in fault


# -- hostile and random files


def test_a_file_of_a_thousand_faults_gets_the_first_hundred_and_their_number(text):
    told = faults(text, "".join(f"key{n}: 1\n" for n in range(1000)))
    assert len(told) <= 102
    assert told[-1].endswith("more faults; mend these first")


def test_a_key_of_a_hundred_thousand_letters_is_told_in_one_line(text):
    (fault,) = faults(text, f"? {'a' * 100_000}\n: 1\n")
    assert len(fault) < 500


FRAGMENTS = st.sampled_from(
    [
        *[
            "ae_title",
            "bind",
            "limits",
            "servers",
            "contexts",
            "storage",
            "timeouts",
            "logging",
            "associations",
            "name",
        ],
        *["sop_classes", "transfer_syntaxes", "verification", "all", "5", "30s", "256KiB", "true", "null", "~", "path"],
        *[
            ": ",
            ":\n  ",
            "\n",
            "\n  ",
            "\n- ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "&a ",
            "*a",
            "'",
            '"',
            "\t",
            "# ",
            "|",
            ">",
        ],
        *[
            "${A}",
            "${A:-5}",
            "${",
            "file:/",
            "file:/etc/hostname",
            "!!str ",
            "---\n",
            "<<",
            "\\",
            "\x00",
            "\ud800",
            "é",
            "?",
        ],
    ]
)
FILES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(FRAGMENTS, max_size=30).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass")),
)


def outcome(path, environ):
    """The faults, of which there is at least one, or none for a configuration."""
    try:
        config = load(path, environ)
    except ConfigurationError as error:
        return error.faults or ["a refusal without a fault"]
    return [] if isinstance(config, Config) else ["neither"]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=FILES)
def test_any_bytes_give_a_configuration_or_a_configuration_error(tmp_path, content):
    path = tmp_path / "scpd.yaml"
    path.write_bytes(content)
    told = outcome(path, {"A": "7"})
    assert all(fault.startswith(str(path)) and "\n" not in fault for fault in told)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.sampled_from(["5", "30s", "1MiB", "all", "storage", "127.0.0.1:1"]),
)
KEYS = st.sampled_from(
    sorted(
        {
            *ServerConfig.model_fields,
            *LimitsConfig.model_fields,
            "servers",
            "logging",
            "level",
            "idle",
            "sop_classes",
            "x",
        }
    )
)
TREES = st.recursive(LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=4), max_leaves=20)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(KEYS, TREES, min_size=1, max_size=5))
def test_any_tree_gives_a_configuration_or_faults_in_words_of_our_own(tmp_path, data):
    path = tmp_path / "scpd.yaml"
    path.write_text(yaml.safe_dump(data))
    assert not any("scpd schema says" in fault or "Input should" in fault for fault in outcome(path, {}))


def test_ten_thousand_unknown_names_are_told_fast(text):
    """The nearest known name is looked for only for those faults that are shown."""
    names = ", ".join(f"storag{n}" for n in range(10_000))
    begin = time.process_time()
    told = faults(text, f"contexts: [{names}]\n")
    assert time.process_time() - begin < 10
    assert told[-1].endswith("more faults; mend these first")
