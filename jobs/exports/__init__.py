"""Metrics of a job for other trackers, each by its own library: one file a library."""
