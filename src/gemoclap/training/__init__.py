"""Training: one loop for every objective, with its optimiser, its checkpoints and the processes that it runs on."""
