"""What one trial computes: pure functions of arrays, for one trial; the trial axis is the sweep's."""
