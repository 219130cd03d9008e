"""Side-by-side measurements: `make bench` prints a table and one JSON object."""
