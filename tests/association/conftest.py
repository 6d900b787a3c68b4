"""Hypothesis without a deadline per example, since a busy machine is no failure, and quick: fuzzing digs deeper."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("rooms", deadline=None, max_examples=60)
settings.load_profile("rooms")
