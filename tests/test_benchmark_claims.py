"""Sentences of the pages against the tables that the benchmarks have written."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEFAULT = "keep 0.6 at 1/9 and 1/3 (the default)"
EARLIER = "keep 1/3 at 1/9 and 1/3 (the earlier default)"
ONE_LATE_RUNG = "keep 0.6 at 1/3"
OURS, NO_MODEL, TPE = (
    "morel_search, no stopping",
    "morel_search, no model, no stopping",
    "tpe, Optuna's defaults",
)


def rows(name: str) -> dict[tuple[str, ...], list[str]]:
    """Return the rows of the tables of a page, by the heading above and the first cell, or the first two."""
    found, heading = {}, ""
    for line in (ROOT / "benchmarks" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("|"):
            cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
            keys = 2 if "±" in line else 1
            found[heading, *cells[:keys]] = cells[keys:]
    return found


def text_of(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def whole(percentage: str) -> int:
    """Return a percentage of a table as a whole number."""
    return int(Decimal(percentage.rstrip("%")).quantize(Decimal(1), ROUND_HALF_UP))


STOPPING, SAMPLERS = rows("early_stopping.md"), rows("search.md")
GRID, SHIPPED = (
    {size: f"{name}, searches of {size}" for size in (60, 100)}
    for name in ("Grid (360 trainings)", "Shipped space (280 trainings)")
)


def cost(heading: str, rule: str) -> int:
    return whole(STOPPING[heading, rule][0])


def front(heading: str, rule: str) -> int:
    """Return the percentage of the front that a rule stops."""
    return whole(STOPPING[heading, rule][1])


def range_of_costs(rule: str) -> str:
    costs = [cost(heading, rule) for heading in (*GRID.values(), *SHIPPED.values())]
    return f"{min(costs)} to {max(costs)}"


def most_robust(heading: str, rule: str) -> int:
    return whole(STOPPING[heading, rule][2].split(",")[0])


def mean(method: str, workers: int, column: int = 3) -> float:
    """Return the mean hypervolume on ZDT1 to ZDT3, at the end or in another column."""
    values = [
        float(SAMPLERS[problem, str(workers), method][column].split()[0].strip("*"))
        for problem in ("ZDT1", "ZDT2", "ZDT3")
    ]
    return sum(values) / len(values)


def test_the_figures_of_early_stopping_are_those_of_its_table() -> None:
    grid, shipped = GRID[60], SHIPPED[60]
    trained = f"{cost(shipped, DEFAULT)} % of the epochs instead of {cost(shipped, EARLIER)} %"
    claims = {
        "docs/how-it-searches.md": [
            f"trained {cost(shipped, EARLIER)} % of the epochs in this way stopped "
            f"{front(shipped, EARLIER)} % of the members",
            f"With the default they train {cost(shipped, DEFAULT)} % and stop {front(shipped, DEFAULT)} %",
            f"epochs, {cost(shipped, ONE_LATE_RUNG)} % and {front(shipped, ONE_LATE_RUNG)} %.",
        ],
        "CHANGELOG.md": [
            f"stop {front(shipped, DEFAULT)} % of the members of the final front instead of "
            f"{front(shipped, EARLIER)} %, and train {trained}",
        ],
        "docs/decisions/0021-a-rung-keeps-most-trainings.md": [
            f"this rule stopped {front(grid, EARLIER)} % of the members of the final front on the recorded "
            f"grid and {front(shipped, EARLIER)} % on the shipped digits space",
            f"in {most_robust(grid, EARLIER)} to {most_robust(shipped, EARLIER)} % of the searches of 60",
            f"trains {range_of_costs(DEFAULT)} % of the epochs instead of {range_of_costs(EARLIER)} %",
            f"{front(GRID[60], DEFAULT)} to {front(GRID[100], DEFAULT)} % (grid) and "
            f"{front(SHIPPED[100], DEFAULT)} to {front(SHIPPED[60], DEFAULT)} % (shipped space)",
        ],
    }
    for page, sentences in claims.items():
        for sentence in sentences:
            assert sentence in text_of(page), page


def test_the_rules_that_decision_21_compares() -> None:
    rules = {rule for heading, rule in STOPPING if heading == SHIPPED[60] and rule.startswith("keep")}
    least = min(rules, key=lambda rule: front(SHIPPED[60], rule))
    assert least == ONE_LATE_RUNG
    decision = text_of("docs/decisions/0021-a-rung-keeps-most-trainings.md")
    assert (
        f"stops the least, {front(SHIPPED[60], least)} to {front(SHIPPED[100], least)} % of the front on the "
        f"shipped space, and trains {cost(SHIPPED[100], least)} to {cost(SHIPPED[60], least)} % of the epochs"
    ) in decision
    half = [rule for rule in rules if 50 <= cost(SHIPPED[60], rule) < 59]
    assert min(half, key=lambda rule: front(SHIPPED[60], rule)) == DEFAULT
    earlier_rungs = "keep 0.6 at 1/14 and 1/7"
    assert front(GRID[100], earlier_rungs) < front(GRID[100], DEFAULT)
    for heading in (*GRID.values(), *SHIPPED.values()):
        assert most_robust(heading, earlier_rungs) > most_robust(heading, DEFAULT)


def test_the_figures_of_the_samplers_are_those_of_their_table() -> None:
    readme = text_of("README.md")
    reached = {
        workers: float(share.rstrip("%"))
        for workers, share in zip((1, 8, 32), SAMPLERS["Recorded trainings", "morel_search"], strict=True)
    }
    ours, theirs, without = (
        [f"{mean(method, workers):.3f}" for workers in (1, 8, 32)] for method in (OURS, TPE, NO_MODEL)
    )
    for sentence in (
        f"reaches {ours[0]} of the hypervolume on average with 1 worker, {ours[1]} with 8 and {ours[2]} with "
        "32;",
        f"its defaults {theirs[0]}, {theirs[1]} and {theirs[2]}; NSGA-II without the model {without[0]}, "
        f"{without[1]} and {without[2]}",
        f"after {reached[1]:g} % of it with 1 worker, {reached[8]:g} % with 8 and {reached[32]:g} % with 32",
        f"random search reaches {whole(str(100 * random_at_the_end(1)))} % of the hypervolume",
        f"8 workers, it reaches {digits('morel_search')}, Optuna's TPE {digits(TPE)}, random search "
        f"{digits('random')} and NSGA-II {digits('ray+nsga2')}; **`search.sampler: tpe` reaches "
        f"{digits('morel_search, sampler tpe')} there, more than the default**",
        f"({SAMPLERS['ZDT1', '8', OURS][-1]} seeds; the others {SAMPLERS['ZDT1', '8', TPE][-1]})",
    ):
        assert sentence in readme


def test_the_model_is_ahead_on_zdt_and_not_on_the_recorded_trainings() -> None:
    for workers in (1, 8, 32):
        assert mean(OURS, workers, 1) > mean(TPE, workers, 1), "at a quarter of the budget"
        assert mean(OURS, workers, 2) > mean(TPE, workers, 3), (
            "at half of the budget more than TPE at the end"
        )
        assert mean(NO_MODEL, workers) < mean(OURS, workers)
    decision = text_of("docs/decisions/0022-children-evolve-in-a-model.md")
    one, other = (
        SAMPLERS["Recorded trainings", "1", method][3].split(" ± ")
        for method in ("morel_search", "morel_search, no model")
    )
    assert (
        f"with 1 worker, {float(one[0]):.3f} ± {float(one[1]):.3f} with the model and {float(other[0]):.4f} "
        f"± {float(other[1]):.4f} without"
    ) in decision


def digits(method: str) -> str:
    """Return the hypervolume of a method at the end, on the digits space with 8 workers."""
    return f"{float(SAMPLERS['Digits space', '8', method][3].split()[0]):.3f}"


def random_at_the_end(workers: int) -> float:
    return float(SAMPLERS["Recorded trainings", str(workers), "random"][3].split()[0])


def test_the_figures_of_the_recipes_are_those_of_their_table() -> None:
    table, page = rows("recipes.md"), text_of("docs/recipes.md")
    short, long = "10 epochs, 5 seeds", "40 epochs, 3 seeds"

    def gain(heading: str, training: str) -> str:
        """Return the difference of robust accuracy with its interval, as the page writes it."""
        return table[heading, training][3].replace("+", "")

    both = {recipe: (gain(short, recipe), gain(long, recipe)) for recipe in ("pgd_recipe", "trades_recipe")}
    first = both["pgd_recipe"][0].replace(" (", " points (")
    assert f"gain {first} with 10 epochs and {both['pgd_recipe'][1]} with 40" in page
    assert f"those of `trades_recipe` {' and '.join(both['trades_recipe'])}" in page
    assert f"twice the width gains {gain(short, '+ width 32')}" in page
    assert (
        f"one_cycle gains {gain(short, '+ one_cycle')}".replace(
            " (", " points of robust accuracy (95 % interval "
        )
        in page
    )
    loss, most, least = re.findall(r"-([\d.]+)", gain(short, "+ awp 0.01"))
    assert f"AWP 0.01 loses {loss} ({least} to {most})" in page
    for training in ("+ label_smoothing 0.1", "+ ema 0.995", "+ awp 0.005"):
        low, high = re.findall(r"[-+][\d.]+", table[short, training][3])[1:]
        assert float(low) <= 0 <= float(high), "no measurable effect"
    ratios = [
        float(table[heading, f"{loss}_recipe"][4]) / float(table[heading, loss][4])
        for heading in (short, long)
        for loss in ("pgd", "trades")
    ]
    assert f"Each takes {min(ratios):.1f} to {max(ratios):.1f} times as long" in page


def test_the_figures_of_mixtures_are_those_of_their_table() -> None:
    page = text_of("docs/guides/mixtures.md")
    lines = [line.split("|") for line in (ROOT / "benchmarks" / "mixtures.md").read_text().splitlines()]
    pairs = {(cells[1].strip(), cells[2].strip()): cells[4].strip() for cells in lines if len(cells) == 6}
    against_robust = [
        text for (name, rival), text in pairs.items() if "@" in name and rival in ("2 (pgd control)", "8")
    ]
    assert len(against_robust) == 4
    more, less = (
        [text.split()[0] for text in against_robust if word in text and "chance" not in text]
        for word in (" more (", " less (")
    )
    assert f"{more[0]} points of robust accuracy for one of four mixtures" in page
    assert len(more) == len(less) == 1
    assert f"none beyond chance for two, {less[0]} points less for one" in page
    wider = sorted(
        float(text.split()[0]) for (name, rival), text in pairs.items() if "@" in name and "twice" in rival
    )
    assert f"more robust by {wider[0]} to {wider[-1]} points" in page
