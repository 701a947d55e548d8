"""What every test may use: the real images and reproducible hypothesis examples."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from omgsr.core import exact

# The same sums everywhere (omgsr/core/exact.py), but for what `make test-kernels` says otherwise.
PREPARED: dict[str, str] = {}
exact.begin({"exact": True}, PREPARED)
os.environ.update(PREPARED | os.environ)

# Examples are the same in every run; a busy machine is slow, not wrong.
settings.register_profile("omgsr", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("omgsr")

HERE = Path(__file__).parent
NUMERIC = ("baselines", "benchmarks", "evaluation", "inference", "method", "models", "training")
"""Rooms whose test modules compute with torch wherever they import it or tests/helpers/models."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what computes with torch as `numeric`."""
    for item in items:
        room = item.path.relative_to(HERE).parts[0]
        loads = ("torch", "models")
        if room in NUMERIC and any(hasattr(item.module, name) for name in loads):  # type: ignore
            item.add_marker(pytest.mark.numeric)


@pytest.fixture(scope="session", autouse=True)
def settled() -> None:
    """Square roots as in the stages, in every test that has torch."""
    exact.settle()


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder with dvc.yaml, params.yaml and stages/."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def avx2() -> None:
    """Skips what holds on x86-64 with AVX2 alone."""
    from torch.backends import cpu  # as torch itself finds out

    if cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("this processor is no x86-64 with AVX2, which `exact` needs")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A foundation folder of the real classes with random weights (tests/helpers/models.py)."""
    from tests.helpers import models  # loads torch and diffusers, which many tests do without

    return models.write_foundation(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: mark the test with `real`; skipped where there is none."""
    given = os.environ.get("OMGSR_REAL_DATA")
    if not given:
        pytest.skip("OMGSR_REAL_DATA is not set: no real images here")
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"OMGSR_REAL_DATA={given} is no folder")
    return folder
