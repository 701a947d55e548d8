"""Stage `digests`: the code that each stage runs => digests/<stage>.txt, a line a module.

A stage depends on its file alone, so that a changed module makes those stages run again that use
it, directly or through another module, and no others. Two dozen modules a stage as `deps` of
`dvc.yaml` would do the same, but DVC reads and writes all of `dvc.lock` for every stage that it
runs (benchmarks/overhead.py).
"""

import hashlib
import sys
from pathlib import Path

from omgsr.core import files
from stages import imports

FOLDER = Path("digests")


def main(*stages: str) -> None:
    """The names of the stages."""
    for path in FOLDER.glob("*.txt"):
        if path.stem not in stages:
            path.unlink()
    for stage in stages:
        if not Path("stages", f"{stage}.py").is_file():
            raise ValueError(f"stages/{stage}.py: there is no such stage; see digests in dvc.yaml")
        lines = [f"{_digest(module)}  {module}\n" for module in imports.modules(stage)]
        path = FOLDER / f"{stage}.txt"
        _say(stage, path, lines)
        files.write_text(path, "".join(lines))


def _digest(module: str) -> str:
    return hashlib.sha256(Path(module).read_bytes()).hexdigest()


def _say(stage: str, path: Path, lines: list[str]) -> None:
    """Name what changed since the last time, for whoever wonders why a stage runs again."""
    before = set(
        path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else lines
    )
    changed = sorted({line.split()[1] for line in before.symmetric_difference(lines)})
    if changed:
        print(f"{stage} runs again: {', '.join(changed)}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"digests: {error}")
