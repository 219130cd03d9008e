"""What a background report finds in the rows of a version. Pure: rows in, plain values out."""
