"""The commands of `omgsr`, one module each: its text is the help, beside `arguments` and `run`.

What a command needs is imported when it runs, so that help answers at once.
"""

import argparse


def profile(parser: argparse.ArgumentParser) -> None:
    """The repository and the profile that a command looks at."""
    parser.add_argument("folder", nargs="?", default=".", help="the repository (default: here)")
    parser.add_argument("--profile", help="another profile than the one of params.yaml")
