"""Tables, figures and the HTML page from scores; the paper's own numbers beside ours.

May import every room before it.
"""
