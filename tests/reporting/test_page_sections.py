"""Sections of the page that the pipeline's own test does not reach."""

from __future__ import annotations

from omgsr.reporting import page_sections

WEIGHTS = {"file": "musiq_koniq.pth", "sha256": "e95806b9" * 8, "bytes": 109}


def test_the_contract_is_a_table_of_whatever_is_told_of_a_metric() -> None:
    told = {
        "runs": ["bicubic", "full-auto"],
        "pyiqa": "0.1.16",
        "crop_border": 0,
        "metrics": {
            "psnr": {"name": "psnr", "options": {"test_y_channel": True}, "weights": []},
            "musiq": {"name": "musiq", "options": {}, "weights": [WEIGHTS], "seed": None},
        },
        "unavailable": {"fid": "fid: unavailable, it lacks a file"},
        "notes": ["fid: unavailable, it lacks a file"],
    }
    block = page_sections.evidence([told], settings={"seed": 0})
    (table,) = block.tables
    assert list(table.head) == ["metric", "options", "weights", "seed"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["psnr", "test y channel: yes", "–", "–"],
        ["musiq", "–", "musiq_koniq.pth (sha256 e95806b9e958…)", "–"],
    ]
    assert table.caption == "Scores of bicubic, full-auto"
    assert list(table.notes) == [
        "pyiqa: 0.1.16, crop border: 0", "fid: unavailable, it lacks a file",
    ]  # fmt: skip
    # The whole of it, hashes included, opens on a click.
    assert "e95806b9" * 8 in block.texts["evaluation contract"]
    assert list(block.texts) == ["evaluation contract", "settings"]


def test_without_a_table_of_the_paper_the_page_says_so() -> None:
    block = page_sections.paper([])
    assert "None of the paper's tables" in block.text
    assert not block.tables
