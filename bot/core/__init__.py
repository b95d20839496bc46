"""What both processes must agree on; the only part of `bot` that the worker may import."""
