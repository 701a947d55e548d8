"""`omgsr doctor`: what is here, what is missing, and how to get it."""

import argparse
import textwrap
from pathlib import Path

DESCRIPTION = """\
Looks at this machine, the packages, the pre-trained models, the data and the metrics of a profile,
without any network, and says of everything that is missing which command gets it, from where, and
under what terms. The exit code is 0 where the profile can run.

  omgsr doctor
  omgsr doctor --profile paper"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", nargs="?", default=".", help="the repository (default: here)")
    parser.add_argument("--profile", help="another profile than the one of params.yaml")


def run(given: argparse.Namespace) -> int:
    """Prints every finding; 1 if something is missing."""
    from omgsr import config
    from omgsr.commands import doctor_findings

    root = Path(given.folder)
    settings = config.load(root, given.profile, ready=False)
    missing = 0
    for one in doctor_findings.everything(settings, root):
        first = f"{one.status:8} {one.part:9} {one.what:34} "
        # Addresses and commands are never broken: they are to be copied.
        print(
            textwrap.fill(
                one.text, 118, initial_indent=first, subsequent_indent=" " * 21,
                break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip
        missing += one.status == "missing"
    print(
        f"\nprofile {settings.profile}: "
        + (f"{missing} things are missing" if missing else "everything that it needs is here")
    )
    return 1 if missing else 0
