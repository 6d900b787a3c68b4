"""The exception tree is the one that its docstring draws; errors carry data and make their own sentence."""

from __future__ import annotations

import inspect
import re

import pytest

from scpd import errors

PROMISED = re.compile(r"[├└]── (\w+)")


def drawn() -> dict[str, str]:
    """Class → base, from the picture in the module's docstring."""
    parents, bases = {-4: "ScpdError"}, {}
    for line in errors.__doc__.splitlines():
        if found := PROMISED.search(line):
            depth = found.start() - 4
            bases[found[1]] = parents[max(one for one in parents if one < depth)]
            parents = {one: name for one, name in parents.items() if one < depth} | {depth: found[1]}
    return bases


def test_the_tree_is_as_drawn():
    classes = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and name != "ScpdError"}
    assert {name: kind.__base__.__name__ for name, kind in classes.items()} == drawn()
    assert errors.ScpdError.__base__ is Exception
    assert len(classes) == 17


def test_every_error_says_what_it_is_for():
    assert all(kind.__doc__ for kind in vars(errors).values() if inspect.isclass(kind))


@pytest.mark.parametrize(
    ("error", "sentence", "data"),
    [
        (errors.ConfigurationError(["a:1: x", "a:2: y"]), "a:1: x\na:2: y", {"faults": ("a:1: x", "a:2: y")}),
        (errors.ProtocolError("odd", reason=6), "odd", {"what": "odd", "reason": 6}),
        (errors.ProtocolError("odd"), "odd", {"reason": 0}),
        (
            errors.Rejected(1, 1, 7, "w"),
            "the peer rejected the association: w",
            {"result": 1, "source": 1, "reason": 7},
        ),
        (errors.Aborted(2, 6, "w"), "the peer aborted the association: w", {"source": 2, "reason": 6, "words": "w"}),
        (errors.ConnectionLost("reset"), "reset", {}),
        (errors.Expired("idle", "nothing came"), "nothing came (timeouts.idle)", {"which": "idle"}),
        (errors.Interrupted("stopping"), "stopping", {"why": "stopping"}),
        (errors.InvalidCommand("no"), "no", {}),
        (errors.UnreadableDataSet("no"), "no", {}),
        (errors.StoreError(0xA700, "full"), "full", {"status": 0xA700, "what": "full"}),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
)
def test_sentence_and_data(error, sentence, data):
    assert str(error) == sentence
    assert {name: getattr(error, name) for name in data} == data
    assert isinstance(error, errors.ScpdError)


@pytest.mark.parametrize(
    "kind", [errors.ProtocolError, errors.Rejected, errors.Aborted, errors.ConnectionLost, errors.Expired]
)
def test_what_the_peer_did_is_caught_as_one(kind):
    assert issubclass(kind, errors.PeerError)


def test_what_we_did_ourselves_is_not_the_peers():
    assert not issubclass(errors.Interrupted, errors.PeerError)
    assert not issubclass(errors.StoreError, errors.PeerError)
