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

needs='import importlib.util, sys
names = ("torch", "diffusers", "peft", "timm", "mlflow", "ruamel.yaml")
missing = [name for name in names if not importlib.util.find_spec(name.split(".")[0])]
sys.exit("lacks " + ", ".join(missing) if missing else 0)'
"$python" -c "$needs" || {
    echo "stages/run.sh: $python cannot run OMGSR. Run 'make install' (it makes .venv), or set" >&2
    echo "OMGSR_PYTHON to a Python that has the packages of pyproject.toml." >&2
    exit 1
}

export DVC_NO_ANALYTICS=true MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
export HF_HUB_DISABLE_TELEMETRY=1
# Threads that wait spin by default; two stages side by side on the same cores then take a hundred
# times as long. Sleeping costs next to nothing.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
stage=$1
shift
# Several GPUs or machines: torchrun's options, split at blanks, for `train` alone.
if [ "$stage" = train ] && [ -n "${OMGSR_LAUNCH:-}" ]; then
    # shellcheck disable=SC2086
    exec "$python" -m torch.distributed.run $OMGSR_LAUNCH -m "stages.$stage" "$@"
fi
exec "$python" -m "stages.$stage" "$@"
