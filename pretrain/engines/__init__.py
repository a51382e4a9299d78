"""Where packs run: here, on Ray, on Slurm."""
