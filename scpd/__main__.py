"""``python -m scpd``: the same as the ``scpd`` command."""

from scpd.cli.main import main

raise SystemExit(main())
