"""Hone's engine beside TRL's GRPOTrainer, and beside itself without what makes it fast."""
