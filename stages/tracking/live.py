"""The curves of a training while it runs."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.tracking.registry import log_pictures
from stages.tracking.store import LIVE, Point, send, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

OFTEN = 5.0
"""Seconds between two messages."""


def _unfinished(client: "MlflowClient", experiment: str, work: str) -> str | None:
    """Give the live run that a killed training of the same checkpoints left, to be continued."""
    same = f"tags.`omgsr.work` = '{work}' and attributes.status = 'RUNNING'"
    found = client.search_runs([experiment], same, max_results=1) if work else []
    return found[0].info.run_id if found else None


class Live:
    """The curves of a training while it runs; the first failure switches it off with one warning.

    Nothing here raises: the training writes its own history, from which `record` makes the curves.
    The run is made with the first message: a training that is done within seconds has none, unless
    it fails. The tag `omgsr.work` names the checkpoints, so that a resumed training continues its
    curves.
    """

    def __init__(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        self.run_id: str | None = None
        self._about = (name, params, tags)
        self._run: tuple[MlflowClient, str] | None = None
        self._off = False
        self._waiting: list[Point] = []
        self._sent = time.monotonic()

    def open(self) -> "tuple[MlflowClient, str] | None":
        """Make or find the run, once => client and run; None where that has failed."""
        if self._off or self._run is not None:
            return self._run
        name, params, tags = self._about
        with self._guarded(), store(LIVE) as (client, experiment):
            from mlflow.entities import Param

            self.run_id = _unfinished(client, experiment, tags.get("omgsr.work", ""))
            if self.run_id is None:
                made = client.create_run(experiment, tags=dict(tags), run_name=name)
                self.run_id = made.info.run_id
                values = [Param(key, str(value)[:6000]) for key, value in params.items()]
                client.log_batch(self.run_id, params=values[:100])
            self._run = client, self.run_id
        return self._run

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._run, self._off = None, True
            self._waiting.clear()
            print(f"Live curves are off, the training goes on: {error}", file=sys.stderr)

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Log values of a step; they are sent together every few seconds."""
        if self._off:
            return
        self._waiting += [(name, float(value), step) for name, value in values.items()]
        if len(self._waiting) >= 900 or time.monotonic() - self._sent > OFTEN:
            self._flush()

    def _early(self) -> bool:
        """Whether there was no message yet, and no need of one."""
        return self._run is None and time.monotonic() - self._sent < OFTEN

    def _flush(self) -> None:
        if run := self.open():
            with self._guarded():
                send(*run, self._waiting)
                self._waiting.clear()
                self._sent = time.monotonic()

    def picture(self, path: Path, folder: str) -> None:
        """Put an image file whose name ends in its step into the picture grid `folder`."""
        if not self._early() and (run := self.open()):
            with self._guarded():
                log_pictures(*run, [(path, folder, int(path.stem.rpartition("-")[2]))])

    def close(self, status: str) -> None:
        """Send what waits and end the run as FINISHED, FAILED or KILLED."""
        if status == "FINISHED" and self._early():
            return
        self._flush()
        if self._run is not None:
            with self._guarded():
                client, run = self._run
                client.set_terminated(run, status=status)


@contextmanager
def live(name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[Live]:
    """Give `log(step, {name: value})`, whose `run_id` is None where there is no store."""
    log = Live(name, params, tags)
    try:
        yield log
    except BaseException as error:
        log.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    log.close("FINISHED")
