"""What the trials say: statistics, figures and reports, from tables alone."""
