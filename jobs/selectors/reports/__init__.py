"""What leaves the platform about a job: the contract's result file, and everything as JSON."""
