"""The version, and how scpd names itself to its peers (PS3.7 D.3.3.2)."""

__version__ = "0.1.0"

# A UID of the form 2.25.<UUID as a decimal> needs no registration (PS3.5 B.2). It names this implementation for good.
IMPLEMENTATION_CLASS_UID = "2.25.135939078750125732349805781630557678839"
IMPLEMENTATION_VERSION_NAME = "SCPD_" + "".join(__version__.split("."))
