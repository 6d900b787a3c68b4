"""The process: configuration → running parts, and what signals do to them."""
