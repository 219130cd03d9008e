"""Changes of state of jobs, runs and base models: one named function each."""
