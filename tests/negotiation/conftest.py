"""One offer and one request that fits it; each test changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from scpd.negotiation.offer import Offer, SupportedContext
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import AssociateRQ, encode_title
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Callable

settings.register_profile("rooms", deadline=None, max_examples=60)
settings.load_profile("rooms")

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="session")
def offer() -> Callable[..., Offer]:
    """Verification and CT, implicit before explicit, with any field replaced."""

    def build(**changes: object) -> Offer:
        supported = (
            SupportedContext(VERIFICATION, (IMPLICIT, EXPLICIT)),
            SupportedContext(CT, (IMPLICIT, EXPLICIT), scu_role=True, scp_role=True),
        )
        made = Offer(
            ae_title="ARCHIVE",
            contexts={one.abstract_syntax: one for one in supported},
            maximum_length=65536,
            implementation_class_uid="1.2.3",
            implementation_version_name="SCPD",
        )
        return replace(made, **changes)

    return build


@pytest.fixture(scope="session")
def ask() -> Callable[..., AssociateRQ]:
    """A request for CT in both encodings, with the fields of it or of its user information replaced."""

    def build(*contexts: tuple[int, str, tuple[str, ...]], **changes: object) -> AssociateRQ:
        inside = {name: changes.pop(name) for name in list(changes) if name in UserInformation.__slots__}
        made = AssociateRQ(
            called_field=encode_title("ARCHIVE"),
            calling_field=encode_title("MODALITY1"),
            user_information=replace(UserInformation(maximum_length=16384), **inside),
            presentation_contexts=tuple(
                PresentationContextRQ(*one) for one in contexts or [(1, CT, (EXPLICIT, IMPLICIT))]
            ),
        )
        return replace(made, **changes)

    return build
