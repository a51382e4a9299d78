"""What the trials say: statistics from tables alone; and finished runs, read."""
