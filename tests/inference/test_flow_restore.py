"""Pictures of any size by the flow-matching families, whole and by tiles."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from omgsr.inference import benchmarks
from omgsr.inference.restore import OneStep
from omgsr.method.generator import Generator
from tests.helpers import flow_hub, flow_linked, models


@pytest.fixture(scope="module", params=flow_hub.KINDS)
def generator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator:
    folder = flow_linked.write(tmp_path_factory.mktemp("flow_restore"), request.param)[1]
    return benchmarks.merge(models.generator(folder, 244, trained=0.01)).requires_grad_(False)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_any_size_is_given_back(generator: Generator) -> None:
    """13 x 9 by 4 is 52 x 36: padded to 64 x 48."""
    sides: list[tuple[int, ...]] = []
    handle = generator.backbone.vae.encoder.register_forward_hook(
        lambda _m, args, _o: sides.append(tuple(args[0].shape[2:4]))
    )
    [made] = OneStep(generator)([picture(13, 9)], (52, 36))
    handle.remove()
    assert made.shape == (52, 36, 3)
    assert np.isfinite(made).all()
    assert sides == [(64, 48)]


def test_large_pictures_go_by_tiles(generator: Generator) -> None:
    """Nothing larger than a tile is shown to the denoiser, and the record says that it is alone."""
    seen: list[tuple[int, ...]] = []
    plain = generator.backbone.predict
    generator.backbone.predict = (  # type: ignore[method-assign]
        lambda z, t: seen.append(tuple(z.shape[2:])) or plain(z, t)  # type: ignore[func-returns-value]
    )
    method = OneStep(generator, tile=64, overlap=16)
    [made] = method([picture(48, 40)], (192, 160))
    generator.backbone.predict = plain  # type: ignore[method-assign]
    assert made.shape == (192, 160, 3)
    assert np.isfinite(made).all()
    assert set(seen) == {(8, 8)}
    assert len(seen) == 4 * 3
    assert method.tile_used == 64
    assert [n for n in method.notes if "tiles of a transformer are restored alone" in n]


def test_a_view_of_the_tile_says_nothing(generator: Generator) -> None:
    method = OneStep(generator, tile=64, overlap=16, view="tile")
    method([picture(48, 40)], (192, 160))
    assert method.notes == []


@pytest.mark.parametrize("dtype", ["bf16"])
def test_half_precision_is_close(generator: Generator, dtype: str) -> None:
    with torch.no_grad():
        [full] = OneStep(generator)([picture(16, 16)], (64, 64))
        [half] = OneStep(generator, dtype=dtype)([picture(16, 16)], (64, 64))  # type: ignore[arg-type]
    OneStep(generator)  # back to fp32
    assert float(np.abs(full - half).mean()) < 0.02
