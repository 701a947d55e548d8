#!/bin/sh
# Runs one stage with the project's interpreter, whether its environment is activated or not:
#   sh stages/run.sh train full auto 0    ->    python -m stages.train full auto 0
# DVC runs stages in the workspace or in a temporary copy of it; DVC_ROOT is the workspace in both,
# and the working directory is the copy, whose omgsr/ and stages/ are the ones imported.
set -eu

python=${OMGSR_PYTHON:-}
if [ -z "$python" ]; then
    python=${DVC_ROOT:-.}/.venv/bin/python
    [ -x "$python" ] || python=python3
fi

export DVC_NO_ANALYTICS=true MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
export HF_HUB_DISABLE_TELEMETRY=1
# Threads that wait spin by default; two stages side by side on the same cores then take a hundred
# times as long. Sleeping costs next to nothing.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "$python" "$(dirname "$0")/launch.py" "$@"
