"""Settings to stages, stages to jobs, jobs to packs, and what names them."""
