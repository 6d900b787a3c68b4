"""A peer that is not installed costs its tests by name here, and the whole run in CI."""

from __future__ import annotations

import pytest


def test_an_absent_peer_is_skipped_by_name(peer, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-peer is not installed"):
        peer("no-such-peer")


def test_an_absent_peer_fails_in_ci(peer, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-peer"):
        peer("no-such-peer")
