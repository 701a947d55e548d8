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
        self._client: MlflowClient | None = None
        self._off = False
        self._waiting: list[Point] = []
        self._sent = time.monotonic()

    def open(self) -> bool:
        """Make or find the run; False where that has failed."""
        if self._off or self._client is not None:
            return not self._off
        name, params, tags = self._about
        with self._guarded(), store(LIVE) as (client, experiment):
            from mlflow.entities import Param

            self.run_id = _unfinished(client, experiment, tags.get("omgsr.work", ""))
            if self.run_id is None:
                made = client.create_run(experiment, tags=dict(tags), run_name=name)
                self.run_id = made.info.run_id
                values = [Param(key, str(value)[:6000]) for key, value in params.items()]
                client.log_batch(self.run_id, params=values[:100])
            self._client = client
        return not self._off

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._client, self._off = None, True
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
        return self._client is None and time.monotonic() - self._sent < OFTEN

    def _flush(self) -> None:
        if self.open() and self._client is not None and self.run_id is not None:
            with self._guarded():
                send(self._client, self.run_id, self._waiting)
                self._waiting.clear()
                self._sent = time.monotonic()

    def picture(self, path: Path, folder: str) -> None:
        """Put an image file whose name ends in its step into the picture grid `folder`."""
        if self._early() or not self.open():
            return
        if self._client is not None and self.run_id is not None:
            with self._guarded():
                step = int(path.stem.rpartition("-")[2])
                log_pictures(self._client, self.run_id, [(path, folder, step)])

    def close(self, status: str) -> None:
        """Send what waits and end the run as FINISHED, FAILED or KILLED."""
        if status == "FINISHED" and self._early():
            return
        self._flush()
        if self._client is not None and self.run_id is not None:
            with self._guarded():
                self._client.set_terminated(self.run_id, status=status)


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
