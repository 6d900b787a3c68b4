"""DIMSE messages (PS3.7 sections 9 and 10, annex E): command sets, statuses, fragments.

Knows no socket, no clock and no service: what a status means to a service class is that service's business.
"""
