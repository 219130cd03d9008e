"""What reads stored trajectories or rolls out anew: graders side by side, preflight."""
