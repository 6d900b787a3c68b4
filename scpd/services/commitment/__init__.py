"""The Storage Commitment Push Model (PS3.4 annex J): promised at once, verified soon, told until the peer has heard it.

``service.py`` takes the request, ``transactions.py`` keeps it durably, ``verification.py`` looks at what is held, and
``reports.py`` tells the peer. ``module.py`` and ``elements.py`` read and write what the two messages carry.
"""
