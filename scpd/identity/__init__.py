"""Who is calling, and what they may do: access rules, and user identities that are really verified.

Knows claims, certificates and addresses as values. It has never heard of YAML, of a socket that belongs to an
association, or of a log: what is wrong is returned or raised in words.
"""
