"""Recording: the run folder on disk, its mirror in MongoDB, and both read back."""
