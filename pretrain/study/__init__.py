"""Statistics of trials, from tables alone; and the reading of finished runs."""
