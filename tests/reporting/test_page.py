"""The HTML page: escaping, self-containedness, and its controls in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from omgsr.reporting import page
from omgsr.reporting.tables import Cell

DRIVE = """
<script>
const wanted = performance.getEntriesByType("resource").map(e => e.name);
const figure = document.querySelector("figure.compare");
const slider = figure.querySelector("input"), images = figure.querySelectorAll("img");
const [first, second, zoom] = figure.querySelectorAll("select");
slider.value = 25; slider.dispatchEvent(new Event("input"));
second.value = "HQ"; second.dispatchEvent(new Event("change"));
zoom.value = "4"; zoom.dispatchEvent(new Event("change"));
const table = document.querySelector("table.sortable");
const column = n => [...table.tBodies[0].rows].map(r => r.cells[n].textContent);
const click = n => table.querySelectorAll("th button")[n].click();
const found = {wanted, clip: images[1].style.clipPath, alt: images[1].alt,
  same: images[1].src === first.options[2].dataset.source,
  width: figure.querySelector(".pair").style.width, before: column(1)};
click(1); found.up = column(1);
click(1); found.down = column(1);
found.sorted = document.querySelectorAll("th")[1].getAttribute("aria-sort");
click(0); found.names = column(0);
found.scrolls = [...document.querySelectorAll(".wide")].at(-1).scrollWidth > innerWidth;
found.body = document.documentElement.scrollWidth <= innerWidth;
document.body.innerHTML = "";
document.body.append(Object.assign(document.createElement("pre"),
  {id: "found", textContent: JSON.stringify(found)}));
</script></body>"""


def made() -> str:
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2, 3])
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    versions = {"LQ": array, "ours": 255 - array, "HQ": array[::-1]}
    values = (("a10", 9.5), ("a9", 20.1), ("b", None), ("<i>", 100.0))
    rows = [
        [
            Cell(name),
            Cell("–" if v is None else str(v), value=v, mark="best" if v == 100 else ""),
        ]
        for name, v in values
    ]
    table = page.Table(head=["run", "psnr ↑"], rows=rows)
    wide = page.Table(
        head=["run", *(f"method {n} (paper)" for n in range(13))],
        rows=[[Cell(str(n), value=n) for n in range(14)]],
        caption="Wider than a screen",
        notes=["Quoted & <apart>"],
    )
    blocks = [
        page.Block(id="scores", title="Scores & more", tables=[table, wide]),
        page.Block(id="curve", title="Curve", plots=[page.svg(figure, "The curve")]),
        page.Block(
            id="pictures",
            title="Pictures",
            pictures=[page.picture("cat, <b>black", versions, "LQ", "ours", ["psnr 20"])],
            texts={"settings": "a: <b>"},
        ),
    ]  # fmt: skip
    return page.render(title="A <report>", subtitle="mini", notes=["one & two"], blocks=blocks)


def test_texts_are_escaped_and_the_page_is_the_same_every_time() -> None:
    html = made()
    assert html == made()
    for text in (
        "A &lt;report&gt;", "one &amp; two", "Quoted &amp; &lt;apart&gt;", "cat, &lt;b&gt;black",
        "a: &lt;b&gt;",
    ):  # fmt: skip
        assert text in html
    assert "<b>" not in html


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = made()
    sources = re.findall(r'(?:src|href|xlink:href|data-source)="([^"]*)"', html)
    assert sources
    assert all(s.startswith(("data:", "#")) for s in sources)
    # XML namespaces are names, not addresses that are asked.
    found = set(re.findall(r"https?://[^\"'<> ]+", html))
    assert all("w3.org" in address for address in found), found


def test_ids_are_unique_and_every_picture_is_described() -> None:
    figures = [Figure(figsize=(2, 2)) for _ in range(2)]
    for figure in figures:
        figure.subplots().plot([1, 2])
    plots = [page.svg(figure, label) for figure, label in zip(figures, ("One", "Two"), strict=True)]
    blocks = [page.Block(id="x", title="X", plots=plots)]
    html = page.render(title="t", subtitle="", notes=[], blocks=blocks)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used <= set(ids)
    assert html.count('role="img" aria-label=') == 2
    full = made()
    for tag in re.findall(r"<img [^>]+>", full):
        assert 'alt="' in tag
    assert full.count("<select aria-label=") == 3


def test_versions_of_several_sizes_are_refused() -> None:
    small, large = np.zeros((4, 4, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="cat: versions of several sizes"):
        page.picture("cat", {"a": small, "b": large}, "a", "b")


@pytest.mark.parametrize("width", [1200, 360])
def test_the_controls_work_in_chromium(tmp_path: Path, width: int) -> None:
    """A slider moved, a version chosen, a zoom, a table sorted both ways; no error, no request."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    html = made()
    assert html.count("</body>") == 1
    (tmp_path / "page.html").write_text(html.replace("</body>", DRIVE))
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path}/profile", f"--window-size={width},900",
            "--enable-logging=stderr", "--dump-dom", (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text is not None, done.stdout[-2000:]
    import html as escaped

    found = json.loads(escaped.unescape(text[1]))
    assert found.pop("wanted") == []
    assert found.pop("clip").startswith("inset(0px 0px 0px 25%")
    assert found == {
        "alt": "cat, <b>black, HQ", "same": True, "width": "400%", "sorted": "descending",
        "before": ["9.5", "20.1", "–", "100.0"], "up": ["9.5", "20.1", "100.0", "–"],
        "down": ["100.0", "20.1", "9.5", "–"], "names": ["<i>", "a9", "a10", "b"], "body": True,
        "scrolls": True,
    }  # fmt: skip
