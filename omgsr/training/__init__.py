"""Training of the method: steps, processes, checkpoints, memory, validation."""
