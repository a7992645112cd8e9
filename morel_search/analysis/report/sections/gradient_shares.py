"""The section of the gradient shares: the share of each loss term in the gradient over the epochs."""

from __future__ import annotations

from morel_search.analysis.report.curves import CURVES, curve_of, member_traces, some_of, subset_words
from morel_search.analysis.report.html import Section, figure_place, section
from morel_search.analysis.report.plotly_traces import Figure, layout_of
from morel_search.analysis.run_data import RunData

__all__ = ["gradient_figures", "gradient_shares_section"]


TERMS = {
    "accuracy_gradient": "accuracy objective",
    "cosine_gradient": "cosine term",
    "contrastive_gradient": "contrastive term",
}


def gradient_shares_section(run_data: RunData) -> Section | None:
    """Return the section of the gradient shares; None when the gradients were not recorded."""
    terms = gradient_figures(run_data)
    if not terms:
        return None
    figures = {f"term-{index}": figure for index, (_, figure) in enumerate(terms)}
    places = "".join(f"<div>{figure_place(ident, 'half')}</div>" for ident in figures)
    caption = (
        "Share of each term of the robust objective in the gradient with respect to the features, on the "
        "first training batch of each epoch, for the trials on the front; the remaining share is that of the "
        "accuracy objective. A term with a share near zero hardly affects the training, whatever its weight."
    )
    caption += subset_words(run_data.front["number"].nunique(), CURVES, "trials on the front")
    content = f'<div class="pair">{places}</div>'
    return section("Gradient share of each loss term", content, caption, "terms", figures)


def gradient_figures(run_data: RunData) -> list[tuple[str, Figure]]:
    """Draw the gradient share of each robust term over the epochs, for the trials on the front.

    Empty when the gradients were not recorded.
    """
    numbers = some_of(list(dict.fromkeys(run_data.front["number"].astype(int))), CURVES)
    rows = run_data.epochs[run_data.epochs["number"].isin(numbers)].dropna(subset=list(TERMS))
    total = rows[list(TERMS)].sum(axis=1)
    shares = (
        rows[list(TERMS)]
        .div(total.where(total > 0), axis=0)
        .assign(number=rows["number"], epoch=rows["epoch"])
    )
    figures = []
    for column, title in list(TERMS.items())[1:]:
        known = shares[shares[column].notna()].sort_values("epoch")
        data: list[Figure] = []
        for index, number in enumerate(numbers):
            if (own := known[known["number"] == number]).empty:
                continue
            data += member_traces(number, curve_of(own, column), (), index / max(1, len(numbers) - 1))
        if data:
            layout = layout_of("epoch", f"{title} (% of the gradient)", legend=False)
            figures.append((title, {"data": data, "layout": layout}))
    return figures
