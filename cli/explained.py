"""The table of `export-engine --explain`: what each exact rewrite did and what it bought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["render_explained"]


def render_explained(rows: list[dict[str, Any]], console: Console) -> None:
    """Print the rows of `export.explain`, as JSON has them, as a table with what was done below it."""
    from rich.table import Table

    table = Table(title="exact rewrites, measured here", title_justify="left")
    for heading in ("rewrite", "applied", "ms before", "ms after", "times faster", "max diff"):
        table.add_column(heading, justify="left" if heading in ("rewrite", "applied") else "right")
    for row in rows:
        figures = ["-"] * 4
        if row["speedup"] is not None:
            figures = [
                f"{row['ms_before']:.2f}",
                f"{row['ms_after']:.2f}",
                f"{row['speedup']:.2f}",
                str(row["max_abs_diff"]),
            ]
        table.add_row(row["pass"], "yes" if row["applied"] else "no", *figures)
    console.print(table, highlight=False, markup=False)
    for row in rows:
        for sentence in row["what"]:
            console.print(f"{row['pass']}: {sentence}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"{row['pass']}: {row['kept']}", highlight=False, markup=False, soft_wrap=True, style="dim")
    console.print()
