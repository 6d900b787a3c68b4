"""scpd: a DICOM server set up by one YAML file."""

from scpd.version import __version__

__all__ = ["__version__"]
