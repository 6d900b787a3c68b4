"""The only room that touches a network: connections under deadlines, listening, and PS3.8 and PS3.7 driven over them.

Knows no service, no storage and no configuration.
"""
