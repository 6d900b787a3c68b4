"""What is told about what happens: logs as data. Knows nobody who tells it anything."""
