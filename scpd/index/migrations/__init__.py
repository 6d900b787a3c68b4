"""How the tables came to be what they are, one step after the other, for Alembic to take."""

HEAD = "0001"
"""The last step."""
