"""What the discriminator sees with `diffaugment`."""

import torch
from torch import Tensor

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


def reference(x: Tensor, rng: torch.Generator) -> Tensor:
    """One view (3, H, W) by the description in Zhao et al. 2020, in other draws and another way."""
    side, (b, s, c) = x.shape[-1], torch.rand(3, generator=rng)
    x = x + b - 0.5
    x = torch.lerp(x.mean(0, keepdim=True), x, 2 * s)
    x = torch.lerp(x.mean(), x, c + 0.5)
    down, right = torch.randint(-side // 8, side // 8 + 1, (2,), generator=rng).tolist()
    rows, columns = torch.arange(side) - down, torch.arange(side) - right
    inside = ((rows >= 0) & (rows < side))[:, None] & ((columns >= 0) & (columns < side))
    x = x[:, rows.clamp(0, side - 1)][:, :, columns.clamp(0, side - 1)] * inside
    y, x_ = torch.randint(0, side, (2,), generator=rng).tolist()
    places = torch.arange(side)
    hole = [(places >= p - side // 4) & (places < p + side // 4) for p in (y, x_)]
    return x * ~(hole[0][:, None] & hole[1])


def numbers(views: Tensor) -> Tensor:
    """Level, contrast, saturation, share that is zero and centre of what is not: (N, 6)."""
    seen = views.abs().sum(1) > 0
    area = seen.sum((1, 2))
    places = torch.arange(views.shape[-1], dtype=torch.float32)
    return torch.stack([
        views.mean((1, 2, 3)), views.std((1, 2, 3)),
        (views - views.mean(1, keepdim=True)).abs().mean((1, 2, 3)), seen.float().mean((1, 2)),
        (seen.sum(2) * places).sum(1) / area, (seen.sum(1) * places).sum(1) / area,
    ], 1)  # fmt: skip


def test_views_are_distributed_as_described() -> None:
    """Means and spreads of 4,000 views each, within 4.5 standard errors of their difference."""
    x = torch.randn(3, 64, 64, generator=rngs(1)[0]).add(0.3)
    count = 4000
    ours = numbers(augment(x.expand(count, -1, -1, -1), rngs(count, 10_000)))
    theirs = numbers(torch.stack([reference(x, rng) for rng in rngs(count, 50_000)]))
    for found in (lambda v: v, lambda v: (v - v.mean(0)).square()):
        a, b = found(ours), found(theirs)
        error = ((a.var(0) + b.var(0)) / count).sqrt()
        assert ((a.mean(0) - b.mean(0)) / error).abs().max() < 4.5
