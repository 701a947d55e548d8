"""\
Looks at this machine, the packages, the pre-trained models, the data and the metrics of a profile,
without any network, and says of everything that is missing which command gets it, from where, and
under what terms. The exit code is 0 where the profile can run.

  omgsr doctor
  omgsr doctor --profile paper
"""

import argparse
import textwrap
from pathlib import Path

from omgsr.commands import profile

arguments = profile


def run(given: argparse.Namespace) -> int:
    """Prints every finding; 1 if something is missing."""
    from omgsr import config
    from omgsr.commands import doctor_findings

    root = Path(given.folder)
    settings = config.load(root, given.profile, ready=False)
    found = []
    for one in doctor_findings.everything(settings, root):
        found.append(one.status)
        first = f"{one.status:8} {one.part:9} {one.what:34} "
        # Addresses and commands are never broken: they are to be copied.
        print(
            textwrap.fill(
                one.text, 118, initial_indent=first, subsequent_indent=" " * 21,
                break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip
    missing = found.count("missing")
    said = f"{missing} things are missing" if missing else "everything that it needs is here"
    print(f"\nprofile {settings.profile}: {said}")
    return int(missing > 0)
