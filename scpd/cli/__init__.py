"""The commands: one file each. They print; nothing else in scpd does."""
