"""What the job pages read from a request."""
