"""Several servers: what each takes over from the top, where each key stands, and that they differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.config import Endpoint, load
from scpd.config.merge import Layer, _layer, merge, overlay
from scpd.errors import ConfigurationError

SEVERAL = """\
ae_title: ARCHIVE
limits:
  associations: 100
  pending: 50
contexts:
  - verification
  - sop_classes: storage
    transfer_syntaxes: all
timeouts: {idle: 5m}
servers:
  - {}
  - name: second
    bind: "127.0.0.1:104"
    limits:
      associations: 5
    contexts: [CTImageStorage]
logging: {level: debug}
"""


@pytest.fixture
def several(tmp_path):
    return load_text(tmp_path, SEVERAL)


def load_text(tmp_path, text):
    path = tmp_path / "scpd.yaml"
    path.write_text(text)
    return load(path, {})


def faults(tmp_path, text):
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, text)
    return [fault.removeprefix(str(tmp_path)) for fault in caught.value.faults]


def test_a_server_takes_from_the_top_what_it_does_not_say(several):
    first, second = several.servers
    assert (first.ae_title, first.limits.associations, first.limits.pending) == ("ARCHIVE", 100, 50)
    assert second.ae_title == "ARCHIVE"
    assert second.timeouts.idle == 300


def test_a_mapping_is_merged_key_by_key(several):
    assert several.servers[1].limits.associations == 5
    assert several.servers[1].limits.pending == 50
    assert several.servers[1].limits.pending_per_address == 64


def test_a_list_replaces_the_one_at_the_top(several):
    assert [each.abstract_syntax for each in several.servers[1].supported()] == ["1.2.840.10008.5.1.4.1.1.2"]


def test_without_servers_there_is_one_of_the_keys_at_the_top(tmp_path):
    (only,) = load_text(tmp_path, 'ae_title: ONE\nbind: "0.0.0.0:104"\n').servers
    assert (only.name, only.ae_title, only.bind) == ("ONE", "ONE", Endpoint("0.0.0.0", 104))


def test_where_names_the_line_that_decides_a_key(several, tmp_path):
    def line(server, key):
        return several.where(server, key).removeprefix(f"{tmp_path}/")

    assert line("ARCHIVE", "limits.associations") == "scpd.yaml:3"
    assert line("second", "limits.associations") == "scpd.yaml:15"
    assert line(1, "limits.pending") == "scpd.yaml:4"
    assert line(0, "contexts[1].transfer_syntaxes") == "scpd.yaml:8"
    assert line(1, "contexts[0]") == "scpd.yaml:16"
    assert line(1, "ae_title") == "scpd.yaml:1"
    assert line(None, "logging.level") == "scpd.yaml:17"


def test_where_says_default_for_what_is_filled_in(several):
    assert several.where("second", "limits.data_set") == "default"
    assert several.where("second", "storage") == "default"
    assert several.where("second", "contexts[1]") == "default"
    assert several.where("second", "contexts[0].transfer_syntaxes") == "default"
    assert several.where("ARCHIVE", "name") == "default"
    assert several.where(None, "logging.format") == "default"


@pytest.mark.parametrize("server", ["third", 2, -1])
def test_where_knows_its_servers(several, server):
    with pytest.raises(LookupError):
        several.where(server, "bind")


def test_servers_without_a_name_are_called_by_their_ae_title_with_a_number_where_it_is_taken(tmp_path):
    text = "ae_title: A\nservers:\n" + "".join(f'  - {{bind: "127.0.0.1:{port}"}}\n' for port in (1, 2, 3))
    text += '  - {name: A-2, bind: "127.0.0.1:4"}\n'
    assert [server.name for server in load_text(tmp_path, text).servers] == ["A", "A-3", "A-4", "A-2"]


def test_two_servers_on_one_address_are_a_fault_that_names_both_lines(tmp_path):
    (told,) = faults(tmp_path, 'servers:\n  - bind: "127.0.0.1:1"\n  - bind: "0.0.0.0:1"\n')
    assert told.startswith("/scpd.yaml:3: servers[1].bind: the server of line 2 listens there already; ")


def test_servers_on_any_free_port_do_not_collide(tmp_path):
    assert len(load_text(tmp_path, 'bind: "127.0.0.1:0"\nservers: [{}, {}]\n').servers) == 2


def test_a_hundred_servers_are_the_most(tmp_path):
    told = faults(tmp_path, "servers: [" + "{}, " * 101 + "]\n")
    assert told == ["/scpd.yaml:1: servers: 101 servers; write at most 100, and start scpd twice for more"]


def test_what_the_servers_take_over_is_bounded(tmp_path):
    text = "contexts: [" + "storage, " * 3000 + "]\nservers: [" + "{}, " * 100 + "]\n"
    assert faults(tmp_path, text) == [
        "/scpd.yaml:2: servers: 100 servers would take over 3002 values each; move some from the top to their server"
    ]


TREES = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@given(below=MAPPINGS, above=MAPPINGS)
def test_every_value_of_an_overlay_stands_at_its_origin(below, above):
    merged = overlay(_layer(below, ()), _layer(above, ("servers", 0)))
    file = {**below, "servers": [above]}
    for path, origin in merged.origins.items():
        value, source = at(merged.data, path), at(file, origin)
        assert value == source or (isinstance(value, dict) and isinstance(source, dict))


@given(below=MAPPINGS, above=MAPPINGS)
def test_an_overlay_has_an_origin_for_each_of_its_paths(below, above):
    merged = overlay(_layer(below, ()), _layer(above, ("servers", 0)))
    assert set(merged.origins) == set(_layer(merged.data, ()).origins)


@given(MAPPINGS)
def test_nothing_over_a_mapping_leaves_it(below):
    assert merge(below, {}) == below
    assert merge({}, below) == below


def test_a_path_that_stands_nowhere_has_the_origin_of_what_is_around_it():
    layer = Layer({"a": {}}, {(): ("servers", 0), ("a",): ("a",)})
    assert layer.origin(("a", "b", 0)) == ("a",)
    assert layer.origin(("c",)) == ("servers", 0)


def at(data, path):
    for part in path:
        data = data[part]
    return data
