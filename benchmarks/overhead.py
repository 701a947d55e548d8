"""What DVC and MLflow cost: the twelve-point sweep with stages that do nothing.

    python -m benchmarks.overhead [commit, default HEAD]

Clones this repository, replaces the body of every stage but `record` by one that writes small
files, and runs `dvc repro` over twelve timesteps of two variants. `train` still logs
its curves live, as it always does. Prints the seconds a stage and where they go; the bar is 0.3.
All is done one after the other, so on an idle machine the seconds of the processor are nearly those
of the clock; on a busy one they alone say something.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMESTEPS = [999, 908, 817, 727, 636, 545, 454, 363, 273, 182, 91, 1]
SWEEP = {"variants": ["full", "no_lrr"], "timesteps": TIMESTEPS}
BAR = 0.3
STARTS = 20
"""Starts of a stage that does nothing, for the time of `sh` and Python."""

STUB = '''"""Writes what a stage would, small."""

import csv, json, os, sys, time
from pathlib import Path

NAME, RUN = sys.argv[0].rpartition("/")[2].removesuffix(".py"), "-".join(sys.argv[1:])
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082")
ROW = "name,hq,lq,resize,top,left,height,width\\na,,x.png,0,0,0,0,0\\n"
PLAN = json.loads(Path("plan.json").read_text())
CARD = {"variant": "full", "t": 1, "seed": 0, "adapters": {}}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def table(columns, *rows):
    return "\\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\\n"


def fill(path):
    benchmarks, runs = PLAN["benchmarks"], PLAN["runs"]
    name = path.name
    if name == "model":
        write(path / "omgsr.json", json.dumps({**CARD, "run": RUN}))
        write(path / "unet_lora_adapter/adapter_model.safetensors", RUN * 1000)
    elif name == "train" and path.parent.parent.name == "runs":
        steps = [(step, 1 / step) for step in range(1, 101)]
        write(path / "history.csv", table("step,l1", *steps))
        write(path / "previews/step-000100.png", PIXEL)
    elif name == "sr":
        for one in benchmarks:
            write(path / one / "a.png", PIXEL)
    elif str(path) == "data/pairs":
        for one in ("train", *benchmarks):
            write(path / f"{one}.csv", ROW)
            write(path / one / "lq/a.png", PIXEL)
    elif str(path) == "reports/scores.csv":
        rows = [(run, one, "", "psnr", 25.0) for run in runs for one in benchmarks]
        write(path, table("run,benchmark,image,metric,value", *rows))
    elif str(path) == "reports/composite.csv":
        write(path, table("run,benchmark,composite", *((run, "average", 0.5) for run in runs)))
    elif name in ("t.json", "timestep.json"):
        write(path, json.dumps({"t": 154, "run": RUN}))
    elif path.suffix == ".png":
        write(path, PIXEL)
    elif path.suffix:
        write(path, "{}" if path.suffix == ".json" else f"{RUN}\\n")
    else:
        write(path / "a.txt", "a")


if NAME == "train":
    start = time.process_time()
    from stages.tracking.live import live
    with live(RUN, {"lr": 1}, {"omgsr.work": RUN}) as log:
        for step in range(1, 101):
            log(step, {"train/l1": 1 / step})
    with open(os.environ["LIVE"], "a") as file:
        file.write(f"{time.process_time() - start}\\n")
for one in PLAN["outs"][" ".join([NAME, *sys.argv[1:]])]:
    fill(Path(one))
'''
PLAN = """
import json, sys
from dvc.repo import Repo
from omgsr.config import load
with Repo() as repo:
    stages = [s for s in repo.index.stages if s.cmd]
    outs = {" ".join(s.cmd.split()[2:]): [o.def_path for o in s.outs] for s in stages}
config = load()
names = [*config.run_names, *config.method_names]
print(json.dumps({"outs": outs, "benchmarks": list(config.benchmarks), "runs": names}))
"""


def prepare(folder: Path, commit: str) -> int:
    """A clone in `folder` whose stages do nothing; the number of its stages."""
    run = subprocess.run
    run(["git", "clone", "-q", str(Path(__file__).resolve().parent.parent), folder], check=True)
    run(["git", "checkout", "-q", commit], cwd=folder, check=True)
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(folder / "reports", ignore_errors=True)
    for path in (folder / "stages").glob("*.py"):
        if path.stem not in ("__init__", "launch", "record"):
            path.write_text(STUB)
    given = folder / "params.yaml"
    lines = given.read_text().splitlines()
    for name, values in SWEEP.items():
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"  {name}: ")]
        lines[at] = f"  {name}: {json.dumps(values)}"
    given.write_text("\n".join(lines) + "\n")
    plan = run([sys.executable, "-c", PLAN], cwd=folder, check=True, capture_output=True).stdout
    (folder / "plan.json").write_bytes(plan)
    return len(json.loads(plan)["outs"])


def seconds(*command: str, folder: Path, **environment: str) -> tuple[float, float]:
    """What a command takes in the clone: seconds of the processor, and of the clock."""
    given = os.environ | {"OMGSR_PYTHON": sys.executable, **environment}
    given.pop("MLFLOW_TRACKING_URI", None)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return processor, time.perf_counter() - start


def main(commit: str = "HEAD") -> None:
    """Measures and prints; an exit code of 1 where the processor's seconds miss the bar."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, live = Path(temporary, "omgsr"), Path(temporary, "live")
        count = prepare(folder, commit)
        dvc = (sys.executable, "-m", "dvc", "repro")
        total, clock = seconds(*dvc, folder=folder, LIVE=str(live))
        lives = [float(line) for line in live.read_text().splitlines()]
        again, _ = seconds(*dvc, folder=folder, LIVE=str(live))
        run = ("sh", "stages/run.sh")
        start = sum(seconds(*run, "report", folder=folder)[0] for _ in range(STARTS)) / STARTS
        known, _ = seconds(*run, "record", folder=folder)
        for path in folder.glob("mlflow.db*"):
            path.unlink()
        shutil.rmtree(folder / "mlartifacts")
        record, _ = seconds(*run, "record", folder=folder)
    runner = start * (count - 1)
    parts = {
        "DVC itself": total - runner - sum(lives) - record,
        f"sh, python, launch ({start:.3f} s a stage)": runner,
        f"live curves of {len(lives)} trainings": sum(lives),
        f"record of {len(lives) + 1} runs, store made": record,
    }
    print(f"{count} stages: {total / count:.3f} s of the processor a stage, the bar is {BAR}")
    for name, value in parts.items():
        print(f"  {name:45} {value:6.1f} s  {value / count:.3f} s a stage")
    print(f"by the clock {clock:.1f} s, {clock / count:.3f} s a stage")
    print(f"nothing to do: {again:.1f} s, of which record {known:.1f} s")
    sys.exit(total / count > BAR)


if __name__ == "__main__":
    main(*sys.argv[1:])
