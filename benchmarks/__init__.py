"""Side-by-side measurements: each `make bench-...` prints a table and one JSON object."""
