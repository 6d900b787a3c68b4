"""What Alembic runs to take steps: over the connection that it is given."""

from __future__ import annotations

from alembic import context

from scpd.index.schema import metadata

# SQLite changes tables only by making them anew, which is what a batch does.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
