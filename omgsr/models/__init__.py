"""Pre-trained networks: schedules, backbones (a family a file), prompts, features, pre-training.

May import `core`, `data` and `evaluation`.
"""
