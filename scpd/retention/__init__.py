"""Deletion by rule: which studies go, that nobody waits for them, and how their files and rows go together.

Knows the index and the files it tells of. Who may not lose a study yet is asked, and who is to hear of it is told: this
room knows no commitment, no audit trail and no YAML.
"""
