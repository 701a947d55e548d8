"""Preview sheets: LQ, restored and HQ of the same pairs at every call."""

from pathlib import Path

import numpy as np
import pytest
import torch

from omgsr.core import images
from omgsr.data.datasets import Pairs
from omgsr.training import previews
from tests.helpers import models


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return Pairs(models.write_pairs(tmp_path, 5, side=16), scale=4, crop=None, seed=0)


def test_fixed_pairs_are_spread_over_the_set_and_always_the_same(pairs: Pairs) -> None:
    x_lq, x_hq = previews.fixed(pairs, 3)
    assert x_lq.shape == x_hq.shape == (3, 3, 16, 16)
    assert torch.equal(previews.fixed(pairs, 3)[0], x_lq)
    ends = [images.read_rgb(pairs.rows[i].hq) for i in (0, 2, 4)]
    for x, hq in zip(x_hq, ends, strict=True):
        shown = images.to_array(x)
        assert np.array_equal(shown, hq) or np.array_equal(shown, hq[:, ::-1])
    assert previews.fixed(pairs, 99)[0].shape[0] == 5


@pytest.mark.parametrize("latent", ["mode", "sample"])
def test_a_sheet_has_a_row_a_pair_and_three_columns(tiny: Path, pairs: Pairs, latent: str) -> None:
    generator = models.generator(tiny, latent=latent, trained=0.1)
    x_lq, x_hq = previews.fixed(pairs, 2)
    sheet = previews.sheet(generator, x_lq, x_hq)
    assert sheet.shape == (32, 48, 3)
    np.testing.assert_array_equal(sheet[16:, :16], images.to_array(x_lq[1]))
    np.testing.assert_array_equal(sheet[:16, 32:], images.to_array(x_hq[0]))
    with torch.no_grad():
        x_sr, _ = generator(x_lq, torch.Generator().manual_seed(0))
    middle = sheet[:16, 16:32].astype(int)
    assert np.abs(middle - images.to_array(x_sr[0])).max() <= 1
    np.testing.assert_array_equal(previews.sheet(generator, x_lq, x_hq), sheet)
