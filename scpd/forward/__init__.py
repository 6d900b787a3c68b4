"""What leaves scpd later: jobs that outlive the process, the hooks that take them, and studies that fall quiet.

Knows no YAML and no DICOM connection. What a job says is its target's business.
"""
