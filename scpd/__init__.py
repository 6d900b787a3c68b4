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
    from scpd.ae.prebuilt import *  # noqa: F403 every list by its name
    from scpd.ae.presentation import PresentationContext as PresentationContext
    from scpd.ae.presentation import build_context as build_context
    from scpd.telemetry.logs import debug_logger as debug_logger

_HOMES = {
    "AE": "scpd.ae.entity",
    "Association": "scpd.ae.association",
    "AsynchronousOperationsWindowNegotiation": "scpd.ae.items",
    "SCP_SCU_RoleSelectionNegotiation": "scpd.ae.items",
    "SOPClassCommonExtendedNegotiation": "scpd.ae.items",
    "SOPClassExtendedNegotiation": "scpd.ae.items",
    "UserIdentityNegotiation": "scpd.ae.items",
    "PresentationContext": "scpd.ae.presentation",
    "build_context": "scpd.ae.presentation",
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
        prebuilt = import_module("scpd.ae.prebuilt")
        if name in prebuilt.__all__:
            return getattr(prebuilt, name)
    raise AttributeError(f"module 'scpd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "evt", *_HOMES, *import_module("scpd.ae.prebuilt").__all__})
