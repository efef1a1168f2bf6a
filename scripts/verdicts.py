"""How often verdicts err and how often they find: the table in rl_tickets/evaluation/verdicts.py, by simulation."""

from collections.abc import Callable

import numpy as np
import tyro
from scipy import stats

from rl_tickets.evaluation.power import POOL, verdicts
from rl_tickets.evaluation.statistics import TRIM
from rl_tickets.evaluation.yuen import yuen

SEEDS = (5, 10, 20, 40, 80)
MARGIN = 0.05
MORE = 0.10
LEVEL = 0.05
Draw = Callable[..., np.ndarray]
"""(rng, shape, worse) -> scores of that shape, worse than dense's by so much."""


def normal(rng: np.random.Generator, shape: tuple[int, int], worse: float = 0.0) -> np.ndarray:
    """Scores that scatter by a tenth around dense's mean."""
    return rng.normal(1 - worse, 0.1, shape)


def saturated(rng: np.random.Generator, shape: tuple[int, int], worse: float = 0.0) -> np.ndarray:
    """Four in ten reach the highest score there is."""
    return np.minimum(1.0, rng.normal(0.97 - worse, 0.1, shape))


def skewed(rng: np.random.Generator, shape: tuple[int, int], worse: float = 0.0) -> np.ndarray:
    """A long tail of bad runs."""
    return 1.05 - rng.lognormal(-2, 0.8, shape) - worse


def failing(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """All succeed alike, but for a share that fails."""
    return np.where(rng.random(shape) < share, rng.uniform(0, 0.4, shape), rng.normal(1, 0.03, shape))


def collapsing(rng: np.random.Generator, shape: tuple[int, int], worse: float = 0.0) -> np.ndarray:
    """One in twenty fails, and so many more."""
    return failing(rng, shape, 0.05 + worse)


SHAPES = (normal, saturated, skewed)


def at_margin(draw: Draw) -> float:
    """How much worse the scores must be for their trimmed mean to be lower by exactly the margin."""
    dense = stats.trim_mean(draw(np.random.default_rng(1), (1, 400_000)).ravel(), TRIM)
    low, high = 0.0, 0.5
    for _ in range(30):
        middle = (low + high) / 2
        sparse = stats.trim_mean(draw(np.random.default_rng(1), (1, 400_000), middle).ravel(), TRIM)
        low, high = (middle, high) if dense - sparse < MARGIN else (low, middle)
    return low


def table(trials: int, seed: int) -> str:
    """Error and power at each number of seeds, as Markdown."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, list[float | None]]] = []

    def row(name: str, found: Callable[[int], float | None]) -> None:
        rows.append((name, [found(seeds) for seeds in SEEDS]))

    def typical(draw: Draw, worse: float) -> Callable[[int], float]:
        return lambda n: np.mean(yuen(draw(rng, (trials, n), worse), draw(rng, (trials, POOL * n)), MARGIN).p < LEVEL)

    def judged(which: int, share: float, more: float, densities: int = 1) -> Callable[[int], float | None]:
        def found(n: int) -> float | None:
            sparse, dense = failing(rng, (trials, n), share + more), failing(rng, (trials, POOL * n), share)
            return float(verdicts(sparse, dense, densities=densities)[which].mean()) if n >= 10 else None

        return found

    def contrasts(draw: Draw, difference: float) -> Callable[[int], float]:
        def found(n: int) -> float:
            shared = rng.normal(0, 0.1, (trials, n))
            pairs = [draw(rng, (trials, n), worse) + shared for worse in (0.0, difference)]
            return float(np.mean(stats.ttest_1samp(pairs[0] - pairs[1], 0.0, axis=1).pvalue < LEVEL))

        return found

    for draw in SHAPES:
        row(f"error: typical, {draw.__name__}, worse by the margin", typical(draw, at_margin(draw)))
    for share in (0.0, 0.02, 0.06):
        row(f"error: reliable, {share:.0%} fail, ten points more", judged(1, share, MORE))
    row("error: matches, 6% fail, ten points more", judged(2, 0.06, MORE))
    blind = at_margin(collapsing)
    row(f"error: typical, {0.05 + blind:.0%} fail instead of 5%", typical(collapsing, blind))
    row(f"error: matches, {0.05 + blind:.0%} fail instead of 5%", judged(2, 0.05, blind))
    for draw in SHAPES:
        row(f"error: contrast, {draw.__name__}, no difference", contrasts(draw, 0.0))
    for draw in SHAPES:
        row(f"power: typical, {draw.__name__}", typical(draw, 0.0))
    for share in (0.0, 0.02, 0.06):
        row(f"power: reliable, {share:.0%} fail", judged(1, share, 0.0))
    row("power: matches, 6% fail", judged(2, 0.06, 0.0))
    row("power: matches, 6% fail, first of four densities", judged(2, 0.06, 0.0, densities=4))
    for draw in SHAPES:
        row(f"power: contrast, {draw.__name__}, 0.1 better", contrasts(draw, 0.1))
    width = max(len(name) for name, _ in rows)
    head = f"{'seeds':{width}}" + "".join(f"{seeds:>6}" for seeds in SEEDS)
    lines = [
        name.ljust(width) + "".join(f"{'-' if v is None else f'{v:.2f}':>6}" for v in found) for name, found in rows
    ]
    return "\n".join([head, *lines])


def main(trials: int = 10_000, seed: int = 0) -> None:
    """Prints the table; half a minute.

    Args:
        trials: simulated experiments for each number.
        seed: of the simulation.
    """
    print(table(trials, seed))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
