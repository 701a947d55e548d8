"""Training of the method: steps, processes, checkpoints, memory, validation.

May import `method` and the rooms before it.
"""
