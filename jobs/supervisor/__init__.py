"""Starts the engine as a child process, commits what it reports, and stops it when it must."""
