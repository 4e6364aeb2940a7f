"""Training: the loop, what it minimises, schedules, evaluation, checkpoints, signals."""
