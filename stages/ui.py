"""`make ui`: MLflow's pages for the store, and the links to the pages worth opening."""

import os
import sys
from urllib.parse import quote

from stages import tracking


def links(server: str, experiment: str, runs: list[str]) -> tuple[str, str]:
    """Give the pages with the charts of all runs and with these runs compared.

    MLflow opens on another page unless the address names this one.
    """
    ids = "[" + ",".join(f'"{run}"' for run in runs) + "]"
    experiments = quote(f'["{experiment}"]')
    return (
        f"{server}/#/experiments/{experiment}/runs?compareRunsMode=CHART&startTime=ALL",
        f"{server}/#/compare-runs?runs={quote(ids)}&experiments={experiments}",
    )


def server(port: int = 5000) -> str:
    """Give the address where the store's pages are, or will be once `make ui` runs."""
    store = tracking.uri()
    return store.rstrip("/") if store.startswith("http") else f"http://127.0.0.1:{port}"


def serve(port: int) -> None:
    """Print the links and become the server of the store, until Ctrl-C."""
    charts, _ = links(server(port), tracking.results_experiment(), [])
    print(f"MLflow's charts: {charts}", flush=True)
    if tracking.uri().startswith("http"):
        return
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking.uri()]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    try:
        serve(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
    except tracking.TrackingError as error:
        sys.exit(str(error))
