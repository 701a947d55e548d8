"""The benchmark of full-size inference runs, part by part and against the plain loop."""

from __future__ import annotations

import pytest

from benchmarks import full_size


def test_it_measures_every_part_and_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(full_size, "alone", lambda function, *given: function(*given))
    arguments = ["--tiny", "--size", "32", "--device", "cpu", "--repeats", "1"]
    assert full_size.main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:]] == ["encoder", "denoiser", "decoder"]
    assert all(" s, peak " in line for line in said[1:])


@pytest.mark.parametrize("case", ["ours", "plain"])
def test_both_ways_give_a_speed(case: str) -> None:
    parser = full_size.argparse.Namespace(tiny=True, size=32, dtype="fp32", repeats=1)
    seconds, peak = full_size.speed(case, 2, parser, full_size.torch.device("cpu"))
    assert seconds > 0
    assert peak > 0
