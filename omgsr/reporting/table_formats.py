"""Tables as Markdown, CSV and LaTeX (booktabs)."""

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence

from omgsr.reporting.tables import DASH, Cell, Grid, Table, grid

LATEX_ROWS = 45
"""Rows of one LaTeX table at most: a page holds no more. Longer ones are continued."""


def markdown(table: Table, best: str = "**{}**", second: str = "<ins>{}</ins>") -> str:
    """A GitHub table, aligned so that it also reads as plain text; title above, notes below it."""
    marks = {"best": best, "second": second, "": "{}"}
    laid = grid(table)
    rows = [[_pipe(cell) for cell in laid.head]]
    for names, cells in _rows(laid.blocks):
        rows.append([*map(_pipe, names), *(marks[cell.mark].format(cell.text) for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    text = [_aligned(row, widths) for row in [rows[0], rule, *rows[1:]]]
    above = [f"{table.title}\n"] if table.title else []
    return "\n".join([*above, *text, *(f"\n{note}" for note in table.notes)]) + "\n"


def plain_csv(table: Table) -> str:
    """Names and values as the table has them; unrounded, empty where there is no value.

    With metrics down: benchmark, metric, better, one column a run; else: benchmark, run, one column
    a metric.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if table.down == "metrics":
        writer.writerow(["benchmark", "metric", "better", *table.runs])
        for line in table.lines:
            better = "lower" if line.traits.lower_better else "higher"
            values = [_number(value) for value in line.values]
            writer.writerow([line.benchmark, line.traits.name, better, *values])
        return text.getvalue()
    laid = grid(table)
    writer.writerow(["benchmark", "run", *(head.split()[0] for head in laid.head[2:])])
    for row in (row for block in laid.blocks for row in block):
        names, values = row[:2], [_number(cell.value) for cell in row[2:]]
        writer.writerow([*(cell.text for cell in names), *values])
    return text.getvalue()


def latex(table: Table) -> str:
    r"""A booktabs table; it needs `\usepackage{booktabs}` and nothing else.

    One that a page does not hold is continued in another, from a benchmark on. What LaTeX cannot
    set in its plain font loses its accents, or is a question mark.
    """
    laid, parts = grid(table), []
    for index, blocks in enumerate(_pages(laid)):
        title = [f"{table.title} (continued)" if index else table.title] if table.title else []
        caption = " ".join(map(_escape, [*title, *(() if index else table.notes)]))
        parts.append(_float(laid.head, blocks, caption))
    return "\n".join(parts)


def _float(head: Sequence[str], blocks: Sequence[Sequence[Sequence[Cell]]], caption: str) -> str:
    marks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    many = len(head) > 8
    bodies = []
    for block in blocks:
        rows = [
            [*map(_escape, names), *(marks[c.mark].format(_escape(c.text)) for c in cells)]
            for names, cells in _rows([block])
        ]
        bodies.append("\n".join(" & ".join(row) + r" \\" for row in rows))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            *([r"\scriptsize", r"\setlength{\tabcolsep}{2pt}"] if many else []),
            rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
            r"\toprule",
            " & ".join(map(_head, head)) + r" \\",
            r"\midrule",
            "\n\\midrule\n".join(bodies),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
            "",
        ]
    )


def _head(text: str) -> str:
    """A column's head; what is in brackets stands below, as ten quoted columns are a page wide."""
    above, space, below = _escape(text).partition(" (")
    return rf"\shortstack[r]{{{above}\\({below}}}" if space else above


def _pages(laid: Grid) -> Iterator[list[Sequence[Sequence[Cell]]]]:
    """Blocks in groups of LATEX_ROWS rows at most; a longer block is a group of its own."""
    page: list[Sequence[Sequence[Cell]]] = []
    for block in laid.blocks:
        if page and sum(map(len, page)) + len(block) > LATEX_ROWS:
            yield page
            page = []
        page.append(block)
    yield page


def _rows(
    blocks: Sequence[Sequence[Sequence[Cell]]],
) -> Iterator[tuple[tuple[str, str], Sequence[Cell]]]:
    """(names, cells) of every row; the benchmark stands in its first row alone."""
    for block in blocks:
        for index, row in enumerate(block):
            yield ("" if index else row[0].text, row[1].text), row[2:]


def _number(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    padded += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return f"| {' | '.join(padded)} |"


def _pipe(text: str) -> str:
    return text.replace("|", r"\|")


_LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "×": r"$\times$",
    DASH: "--",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character) or _ascii(character) for character in text)


def _ascii(character: str) -> str:
    """The character without its accent, or a question mark."""
    kept = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(one, one) for one in kept if one.isprintable()) or "?"
