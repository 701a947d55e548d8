"""What everything else stands on: files, images, randomness, devices, parallel work.

Knows nothing of super-resolution. Imports no other room.
"""
