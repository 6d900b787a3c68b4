"""How many there may be: every limit, who has to make way, and that no count ever goes wrong."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from scpd.server.capacity import Capacity, CapacityLimits


class Caller:
    """As much of a connection as capacity needs."""

    def __init__(self) -> None:
        self.interrupted = ""

    def interrupt(self, why: str) -> None:
        self.interrupted = why


def enter(capacity: Capacity, *hosts: str) -> list[Caller]:
    callers = [Caller() for _ in hosts]
    for caller, host in zip(callers, hosts, strict=True):
        capacity.enter(caller, host)
    return callers


def capacity(associations=10, associations_per_address=10, pending=10, pending_per_address=10) -> Capacity:
    return Capacity(CapacityLimits(associations, associations_per_address, pending, pending_per_address))


def test_associations_are_limited_in_all():
    one = capacity(associations=2)
    a, b, c = enter(one, "a", "b", "c")
    assert [one.associate(caller) for caller in (a, b, c)] == ["", "", "limits.associations"]
    assert len(one) == 2


def test_associations_are_limited_by_address():
    one = capacity(associations_per_address=1)
    a, again, b = enter(one, "a", "a", "b")
    assert [one.associate(caller) for caller in (a, again, b)] == ["", "limits.associations_per_address", ""]


def test_a_connection_that_says_nothing_uses_up_no_association():
    one = capacity(associations=1)
    *_, last = enter(one, *"aaaaab")
    assert one.associate(last) == ""


def test_the_oldest_pending_of_the_same_address_makes_way():
    one = capacity(pending_per_address=2)
    other, first, second, third = enter(one, "b", "a", "a", "a")
    assert "limits.pending" in first.interrupted
    assert not any(caller.interrupted for caller in (other, second, third))


def test_the_oldest_pending_of_all_makes_way():
    one = capacity(pending=2)
    first, second, third = enter(one, "a", "b", "c")
    assert "limits.pending" in first.interrupted
    assert not second.interrupted + third.interrupted


def test_who_has_an_association_never_makes_way():
    one = capacity(pending=1)
    (first,) = enter(one, "a")
    one.associate(first)
    enter(one, *"aaaa")
    assert not first.interrupted


def test_who_made_way_gets_no_association_any_more():
    one = capacity(pending=1)
    first, _ = enter(one, "a", "a")
    assert one.associate(first) == "limits.pending"


def test_a_place_is_free_when_the_association_has_ended_though_the_connection_lingers():
    one = capacity(associations=1)
    first, second = enter(one, "a", "a")
    assert one.associate(first) == ""
    one.dissociate(first)
    assert len(one) == 0
    assert one.associate(second) == ""


def test_who_lingers_after_an_association_is_pending_and_makes_way():
    one = capacity(pending=1)
    (first,) = enter(one, "a")
    one.associate(first)
    one.dissociate(first)
    enter(one, "b")
    assert first.interrupted


@pytest.mark.parametrize("limits", [{"pending": 2}, {"pending_per_address": 2}])
def test_those_who_linger_are_no_more_than_pending_allows(limits):
    """A hundred associations that end at once must not leave a hundred connections beyond the limit."""
    one = capacity(**limits)
    callers = enter(one, "a")
    for _ in range(5):
        one.associate(callers[-1])
        callers += enter(one, "a")
    for caller in callers:
        one.dissociate(caller)
    assert len(one._pending) <= 2


def test_leaving_twice_is_leaving_once():
    one = capacity()
    (first,) = enter(one, "a")
    one.associate(first)
    one.leave(first)
    one.leave(first)
    one.dissociate(first)
    assert len(one) == 0
    assert not one._pending
    assert not one._pending_from + one._associated_from


class CapacityMachine(RuleBasedStateMachine):
    """Connections come, associate, end and go in any order; a model counts along."""

    connections = Bundle("connections")
    limits = CapacityLimits(associations=4, associations_per_address=2, pending=5, pending_per_address=3)

    def __init__(self) -> None:
        super().__init__()
        self.capacity = Capacity(self.limits)
        self.host: dict[Caller, str] = {}
        self.associated: set[Caller] = set()

    @rule(target=connections, host=st.sampled_from("abcd"))
    def come(self, host: str) -> Caller:
        caller = Caller()
        self.host[caller] = host
        self.capacity.enter(caller, host)
        return caller

    @rule(caller=connections)
    def ask(self, caller: Caller) -> None:
        if caller in self.associated or caller not in self.host:
            return
        mine = sum(self.host[one] == self.host[caller] for one in self.associated)
        reached = self.capacity.associate(caller)
        if caller.interrupted:
            assert reached == "limits.pending"
        elif len(self.associated) >= self.limits.associations:
            assert reached == "limits.associations"
        elif mine >= self.limits.associations_per_address:
            assert reached == "limits.associations_per_address"
        else:
            assert reached == ""
            self.associated.add(caller)

    @rule(caller=connections)
    def end(self, caller: Caller) -> None:
        self.capacity.dissociate(caller)
        self.associated.discard(caller)

    @rule(caller=consumes(connections))
    def go(self, caller: Caller) -> None:
        self.capacity.leave(caller)
        self.associated.discard(caller)
        del self.host[caller]

    @invariant()
    def nobody_is_above_a_limit(self) -> None:
        inside = self.capacity
        assert len(inside) == len(self.associated) <= self.limits.associations
        assert len(inside._pending) <= self.limits.pending
        assert all(0 < count <= self.limits.associations_per_address for count in inside._associated_from.values())
        assert all(0 < count <= self.limits.pending_per_address for count in inside._pending_from.values())

    @invariant()
    def the_counts_are_those_of_the_connections(self) -> None:
        inside = self.capacity
        assert inside._pending_from == Counter(inside._pending.values())
        assert inside._associated_from == Counter(inside._associated.values())
        waiting = {caller for caller in self.host if caller not in self.associated and not caller.interrupted}
        assert set(inside._pending) == waiting
        assert set(inside._associated) == self.associated

    @invariant()
    def nobody_with_an_association_was_asked_to_make_way(self) -> None:
        assert not any(caller.interrupted for caller in self.associated)


TestCapacityMachine = CapacityMachine.TestCase
