"""Tables as Markdown, CSV and LaTeX (booktabs).

tabulate is not asked: it widens heads by two and counts widths by what else is installed.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import pandas as pd

from omgsr.reporting.tables import DASH, Rows, Table, grid

LATEX_ROWS = 45
"""Rows of one LaTeX table at most: a page holds no more. Longer ones are continued."""


def markdown(table: Table, second: str = "<ins>{}</ins>") -> str:
    """A GitHub table, aligned so that it also reads as plain text; title above, notes below it."""
    (head, blocks), marks = grid(table), {"best": "**{}**", "second": second, "": "{}"}
    rows = [list(map(_pipe, head))]
    for block in blocks:
        rows += _texts(block, marks, _pipe)
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
    if table.down == "metrics":
        head = ["benchmark", "metric", "better", *table.runs]
        rows = [
            [one.benchmark, one.traits.name, ("higher", "lower")[one.traits.lower_better]]
            + [_number(value) for value in one.values]
            for one in table.lines
        ]
    else:
        labels, blocks = grid(table)
        head = ["benchmark", "run", *(name.split()[0] for name in labels[2:])]
        rows = [
            [row[0].text, row[1].text, *(_number(cell.value) for cell in row[2:])]
            for row in chain(*blocks)
        ]
    return pd.DataFrame(rows, columns=head).to_csv(index=False)


def latex(table: Table) -> str:
    r"""A booktabs table; it needs `\usepackage{booktabs}` and nothing else.

    One that a page does not hold is continued in another, from a benchmark on. What LaTeX cannot
    set in its plain font loses its accents, or is a question mark.
    """
    (head, whole), parts = grid(table), []
    for index, blocks in enumerate(_pages(whole)):
        title = [f"{table.title} (continued)" if index else table.title] if table.title else []
        caption = " ".join(map(_escape, [*title, *(() if index else table.notes)]))
        parts.append(_float(head, blocks, caption))
    return "\n".join(parts)


FORMATS = {"md": markdown, "csv": plain_csv, "tex": latex}
"""Endings of the files of a table."""


def rows(head: Sequence[str], names: int, body: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a plain Markdown table, of whose columns the first `names` hold no numbers."""
    rule = "|---" * names + "|---:" * (len(head) - names) + "|"
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, *body)]
    return [lines[0], rule, *lines[1:]]


def _float(head: Sequence[str], blocks: Sequence[Rows], caption: str) -> str:
    marks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    rows = (_texts(block, marks, _escape) for block in blocks)
    bodies = ("\n".join(" & ".join(row) + r" \\" for row in block) for block in rows)
    body = "\n\\midrule\n".join(bodies)
    small = "\\scriptsize\n\\setlength{\\tabcolsep}{2pt}\n" if len(head) > 8 else ""
    return rf"""\begin{{table}}
\centering
{small}\begin{{tabular}}{{ll{"r" * (len(head) - 2)}}}
\toprule
{" & ".join(map(_head, head))} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
\caption{{{caption}}}
\end{{table}}
"""


def _head(text: str) -> str:
    """A column's head; what is in brackets stands below, as ten quoted columns are a page wide."""
    above, space, below = _escape(text).partition(" (")
    return rf"\shortstack[r]{{{above}\\({below}}}" if space else above


def _pages(blocks: Sequence[Rows]) -> Iterator[list[Rows]]:
    """Blocks in groups of LATEX_ROWS rows at most; a longer block is a group of its own."""
    page: list[Rows] = []
    for block in blocks:
        if page and sum(map(len, page)) + len(block) > LATEX_ROWS:
            yield page
            page = []
        page.append(block)
    yield page


def _texts(block: Rows, marks: Mapping[str, str], escape: Callable[[str], str]) -> list[list[str]]:
    """The rows of a benchmark as they are printed; its name stands in the first of them alone."""
    return [
        ["" if index else escape(row[0].text), escape(row[1].text)]
        + [marks[cell.mark].format(escape(cell.text)) for cell in row[2:]]
        for index, row in enumerate(block)
    ]


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


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
