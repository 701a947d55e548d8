"""`make ui`: MLflow's pages for the store, and the links to the pages worth opening."""

import os
import sys
from collections.abc import Sequence
from urllib.parse import quote

from stages.tracking import recording, registry, store


def links(server: str, experiment: str, runs: Sequence[str], sweep: str = "") -> dict[str, str]:
    """Give the pages with the charts of a sweep, or of all runs, and with these runs compared.

    MLflow opens on another page unless the address names this one.
    """
    page = f"{server}/#/experiments/{experiment}/runs?"
    theirs = quote(f"tags.`{sweep}` LIKE '%'")
    shown = f"searchFilter={theirs}&" if sweep else ""
    ids = "[" + ",".join(f'"{run}"' for run in runs) + "]"
    given = {"charts": f"{page}{shown}compareRunsMode=CHART&startTime=ALL"}
    if len(runs) > 1:
        experiments = quote(f'["{experiment}"]')
        given["compared"] = f"{server}/#/compare-runs?runs={quote(ids)}&experiments={experiments}"
    return given


def server(port: int = 5000) -> str:
    """Give the address where the store's pages are, or will be once `make ui` runs."""
    given = store.uri()
    return given.rstrip("/") if given.startswith("http") else f"http://127.0.0.1:{port}"


def show(port: int) -> None:
    """Print the links to all runs and to each of the latest sweeps."""
    experiment, sweeps = recording.sweeps()
    print(f"all runs\n  charts    {links(server(port), experiment, [])['charts']}")
    for tag, (about, runs) in sweeps.items():
        print(f"{about} ({len(runs)} trained)")
        for name, link in links(server(port), experiment, runs, tag).items():
            print(f"  {name:9} {link}")
    print(f"models\n  {server(port)}/#/models/{registry.REGISTERED}", flush=True)


def serve(port: int) -> None:
    """Print the links and become the server of the store, until Ctrl-C."""
    show(port)
    if store.uri().startswith("http"):
        return
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri()]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    try:
        serve(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
    except store.TrackingError as error:
        sys.exit(str(error))
