"""What the discriminator sees with `diffaugment`."""

import torch

from omgsr.method.discriminator import augment, colour, cut_out, translate


def rngs(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def test_colour_by_hand() -> None:
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 2 - 1
    b, s, c = (float(v) for v in torch.rand(3, generator=rngs(1)[0]))
    bright = x + b - 0.5
    grey = (bright[:, :1] + bright[:, 1:2] + bright[:, 2:]) / 3
    saturated = grey + (bright - grey) * 2 * s
    expected = saturated.mean() + (saturated - saturated.mean()) * (c + 0.5)
    torch.testing.assert_close(colour(x, rngs(1)), expected)


def test_translation_moves_by_at_most_an_eighth_and_fills_with_zero() -> None:
    x = torch.arange(1.0, 16 * 16 + 1).view(1, 1, 16, 16)
    shifts = set()
    for seed in range(60):
        moved = translate(x, rngs(1, seed))[0, 0]
        value = float(moved[8, 8]) - 1
        down, right = 8 - int(value // 16), 8 - int(value % 16)
        expected = torch.zeros(16, 16)
        target = expected[max(down, 0) : 16 + min(down, 0), max(right, 0) : 16 + min(right, 0)]
        target[:] = x[0, 0, max(-down, 0) : 16 - max(down, 0), max(-right, 0) : 16 - max(right, 0)]
        assert torch.equal(moved, expected)
        shifts.add((down, right))
    assert {max(abs(d), abs(r)) for d, r in shifts} == {0, 1, 2}


def test_cutout_is_one_box_of_half_the_sides() -> None:
    whole = 0
    for seed in range(40):
        hole = cut_out(torch.ones(1, 1, 16, 12), rngs(1, seed))[0, 0] == 0
        rows, columns = hole.any(1), hole.any(0)
        assert int(hole.sum()) == int(rows.sum()) * int(columns.sum())  # a box
        assert 4 <= int(rows.sum()) <= 8
        assert 3 <= int(columns.sum()) <= 6
        whole += int(hole.sum()) == 48
    assert whole > 5


def test_an_image_does_not_depend_on_its_batch_and_gradients_pass() -> None:
    x = torch.randn(3, 3, 16, 16, generator=rngs(1)[0]).requires_grad_()
    together = augment(x, rngs(3))
    apart = [augment(x[i : i + 1], [rngs(3)[i]]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(apart))
    assert not torch.equal(together[0], together[1])
    together.sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
