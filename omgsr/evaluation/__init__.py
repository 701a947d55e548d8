"""Scores: PyIQA metrics and their weight files, FID, Eqs. 20-23, rankings and intervals.

May import `core` and `data`.
"""
