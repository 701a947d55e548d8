"""From photographs to LQ/HQ pairs: image sets, the degradation, manifests, and their audit.

May import `core`.
"""
