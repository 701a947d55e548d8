"""Stage `resolve`: the timestep of one run => runs/<variant>-<t>/t.json.

`train` depends on this file alone, so a new t* retrains the runs at `auto` and no others.
"""

import sys
from pathlib import Path

from omgsr import config, files


def main(variant: str, timestep: str) -> None:
    """`timestep` is `auto` or a number, as in sweep.timesteps."""
    settings = config.load()
    if (variant, timestep) not in settings.runs:
        raise ValueError(f"{variant}-{timestep} is not in the sweep: {settings.run_names}")
    if timestep == "auto":
        resolved = {"t": files.read_json("reports/timestep.json")["t"], "source": "auto"}
    else:
        resolved = {"t": int(timestep), "source": "given"}
    files.write_json(Path("runs") / f"{variant}-{timestep}" / "t.json", resolved)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"resolve: {error}")
