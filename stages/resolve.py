"""Stage `resolve`: the timestep of one run => runs/<run>/t.json.

`train` depends on this file alone, so a new t* retrains the runs at `auto` and no others.
"""

from pathlib import Path

from omgsr import config
from omgsr.core import files
from omgsr.experiments import Run
from stages import call


def main(variant: str, timestep: str, seed: str) -> None:
    """The values of a run, as in the sweep."""
    settings = config.load()
    run = Run(variant, timestep, int(seed))
    if run not in settings.runs:
        raise ValueError(f"{run.name} is not in the sweep: {', '.join(settings.run_names)}")
    if timestep == "auto":
        resolved = {"t": files.read_json("reports/timestep.json")["t"], "source": "auto"}
    else:
        resolved = {"t": int(timestep), "source": "given"}
    files.write_json(Path("runs", run.name, "t.json"), resolved)


if __name__ == "__main__":
    call(main)
