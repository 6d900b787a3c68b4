"""What is answered to an A-ASSOCIATE-RQ (PS3.7 annex D), as pure functions: (request, offer) → agreement or rejection.

Knows no socket, no clock, no log, and not who the peer is: admission makes the offer, this room compares.
"""
