"""Queries (PS3.4 annex C): C-FIND in the models of Patient Root, Study Root and Patient/Study Only.

An identifier comes in, is judged and becomes a query of the index; what the index finds goes out as identifiers.
"""
