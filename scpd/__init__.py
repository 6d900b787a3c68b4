"""scpd: a DICOM server set up by one YAML file, and its Application Entity for Python programs.

What is named here is made when it is first asked for: the daemon needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scpd.version import __version__

if TYPE_CHECKING:  # what stands here is for type checkers; __getattr__ below is what happens
    from scpd.ae import evt as evt
    from scpd.ae.association import Association as Association
    from scpd.ae.entity import AE as AE
    from scpd.ae.items import (
        AsynchronousOperationsWindowNegotiation as AsynchronousOperationsWindowNegotiation,
    )
    from scpd.ae.items import (
        SCP_SCU_RoleSelectionNegotiation as SCP_SCU_RoleSelectionNegotiation,
    )
    from scpd.ae.items import (
        SOPClassCommonExtendedNegotiation as SOPClassCommonExtendedNegotiation,
    )
    from scpd.ae.items import (
        SOPClassExtendedNegotiation as SOPClassExtendedNegotiation,
    )
    from scpd.ae.items import (
        UserIdentityNegotiation as UserIdentityNegotiation,
    )
    from scpd.ae.items import (
        build_role as build_role,
    )
    from scpd.ae.presentation import *  # noqa: F403
    from scpd.telemetry.logs import debug_logger as debug_logger

_HOMES = {
    "AE": "scpd.ae.entity",
    "Association": "scpd.ae.association",
    "AsynchronousOperationsWindowNegotiation": "scpd.ae.items",
    "SCP_SCU_RoleSelectionNegotiation": "scpd.ae.items",
    "SOPClassCommonExtendedNegotiation": "scpd.ae.items",
    "SOPClassExtendedNegotiation": "scpd.ae.items",
    "UserIdentityNegotiation": "scpd.ae.items",
    "build_role": "scpd.ae.items",
    "debug_logger": "scpd.telemetry.logs",
}
__all__ = ["__version__", "evt", *_HOMES]  # noqa: PLE0604 and the prebuilt lists, see __getattr__


def __getattr__(name: str) -> Any:
    if name == "evt":
        return import_module("scpd.ae.evt")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if not name.startswith("_"):
        presentation = import_module("scpd.ae.presentation")
        if name in presentation.__all__:
            return getattr(presentation, name)
    raise AttributeError(f"module 'scpd' has no attribute {name!r}")


def __dir__() -> list[str]:
    presentation = import_module("scpd.ae.presentation")
    return sorted({*globals(), "evt", *_HOMES, *presentation.__all__})
