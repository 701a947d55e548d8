"""Stage `baseline`: the benchmarks by a method beside OMGSR => runs/<name>/sr/<benchmark>/.

runs/<name>/method.json says what restored them: kind, options, and the sha256 of its weights.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from tqdm import tqdm

from omgsr import config
from omgsr.baselines import foreign_outputs, registry
from omgsr.baselines.settings import KNOWN, Method
from omgsr.core import devices, files
from omgsr.core.fingerprint import sha256
from omgsr.data import manifest
from omgsr.inference import benchmarks
from omgsr.inference.method import Method as Restorer
from stages import call

FOUNDATION = Path("foundation")


def main(name: str) -> None:
    """`name` is one of sweep.methods in params.yaml."""
    settings = config.load()
    if name not in settings.method_names:
        allowed = ", ".join(settings.method_names) or "none"
        raise ValueError(f"{name!r} is no method of sweep.methods: {allowed}")
    given, run = settings.methods[name], Path("runs", name)
    method = None if given.kind == "folder" else load(given)
    shutil.rmtree(run / "sr", ignore_errors=True)
    for benchmark in settings.benchmarks_of(name):
        rows = manifest.read(f"data/pairs/{benchmark}.csv")
        if method is None:
            folder, out = Path(rooted(given), benchmark), run / "sr" / benchmark
            saved = foreign_outputs.copy(folder, rows, settings.data.scale, out)
        else:
            plan = settings.infer.batch, settings.data.scale
            restored = benchmarks.restore_rows(method, rows, *plan)
            saved = benchmarks.save_rows(restored, run / "sr" / benchmark)
        for _ in tqdm(saved, total=len(rows), desc=f"{name} on {benchmark}", unit="image"):
            pass
    files.write_json(run / "method.json", card(given, method))


def load(given: Method) -> Restorer:
    """The method of a definition, on the device that is there."""
    where = FOUNDATION if KNOWN[given.kind].foundation else None
    path = None if given.path is None else rooted(given)
    return registry.load(
        given.kind, path=path, foundation=where, device=devices.pick(), **given.options.given
    )


def rooted(given: Method) -> str:
    """Its path; a relative one counts from the workspace, also in a temporary experiment's copy."""
    return str(Path(os.environ.get("DVC_ROOT", "."), str(given.path)))


def card(given: Method, method: Restorer | None) -> dict[str, Any]:
    """What made the images, for who asks where a number comes from."""
    known = KNOWN[given.kind]
    about: dict[str, Any] = {"kind": given.kind, "options": given.options.given}
    if given.path is not None:
        about |= {"path": given.path, "sha256": sha256(rooted(given)), "licence": known.licence}
    if known.foundation:
        about["foundation"] = files.read_json(FOUNDATION / "foundation.json")["sha256"]
    return about | {"notes": list(getattr(method, "notes", []))}


if __name__ == "__main__":
    call(main)
