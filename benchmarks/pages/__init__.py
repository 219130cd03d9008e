"""The pages measured: a million trajectories, 100,000 steps, and people who watch."""
