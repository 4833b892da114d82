"""Training: one loop for every objective, its optimiser, its checkpoints, and the processes it runs on."""
