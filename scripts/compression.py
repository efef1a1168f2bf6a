"""Critical against maximal compression of criteria before training, on SB3 policies (Tanaka et al. 2020, figure 2).

Compression is weights per kept weight, measured over densities 10^0, 10^-1/4, ... 10^-3, without keeping a layer's last
weight. Critical is the largest down to which no layer was empty, and down to which every head still heard an input;
maximal is one weight a layer.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from cartpole import make_model as cartpole
from matplotlib.axes import Axes
from mountaincar import make_model as mountaincar
from pendulum import make_model as pendulum
from rich.progress import track
from stable_baselines3.common.base_class import BaseAlgorithm

import rl_tickets as rt
from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.linear import LinearPolicy
from rl_tickets.agents.networks import network_of
from rl_tickets.lab.threads import one_thread
from rl_tickets.report.looks import BLUE, INK, MUTED, ORANGE, save, sheet
from rl_tickets.report.markdown_table import markdown_table
from rl_tickets.tickets.archive import write_whole
from rl_tickets.tickets.scopes import Scope

COMMAND = "python scripts/compression.py"
DENSITIES = tuple(10 ** (-quarter / 4) for quarter in range(13))
AGENTS = {
    "PPO, CartPole, 2x64": cartpole,
    "SAC, Pendulum, 2x256": partial(pendulum, width=256),
    "DQN, MountainCar, 2x512": partial(mountaincar, width=512),
}
Ways = dict[str, tuple[rt.AgentCriterion | Callable[..., object], Scope]]
WAYS: Ways = {
    "SynFlow": (rt.synflow, "global"),
    "SynFlow, actor and critic apart": (rt.synflow, "network"),
    "SynFlow, one round": (rt.SynFlow(rounds=1), "global"),
    "SNIP": (rt.snip, "global"),
    "SNIP, apart": (rt.snip, "network"),
    "SNIP, apart, 20 rounds": (rt.Snip(rounds=20), "network"),
    "GraSP": (rt.grasp, "global"),
    "GraSP, apart": (rt.grasp, "network"),
    "LAMP": (rt.lamp, "global"),
    "magnitude": (rt.magnitude, "global"),
    "random, ERK densities": (rt.random_scores, rt.erk),
    "random": (rt.random_scores, "global"),
}


@dataclass(frozen=True)
class Point:
    """One agent of one seed, pruned by one criterion to one density."""

    agent: str
    criterion: str
    seed: int
    density: float
    empty: int
    """Layers without weights."""
    deaf: int
    """Heads that no path leads to from an input."""
    maximal: float
    """Weights per layer: the largest compression that leaves each layer one."""


def main(
    seeds: int = 3,
    out: Path = Path("results/compression"),
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Prunes untrained agents, and writes a table and a plot; nothing is trained.

    Args:
        seeds: of each agent.
        out: folder of the results.
        smoke: only to show that everything works: one agent, three densities, in a folder of its own.
    """
    agents, ways, densities = AGENTS, WAYS, DENSITIES
    if smoke:
        agents, densities = dict([*AGENTS.items()][:1]), DENSITIES[::6]
        ways = {name: WAYS[name] for name in ("SynFlow", "SNIP", "GraSP", "magnitude")}
        seeds, out = 1, out.with_name(f"{out.name}_smoke")
    tasks = [(agent, seed) for agent in agents for seed in range(seeds)]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", rt.LayerCollapseWarning)
        points = [
            point
            for agent, seed in track(tasks, "Agents")
            for point in measured(agent, agents[agent](seed), seed, ways, densities)
        ]
    figure = sheet(4.1 * len(agents) + 2.2, 0.34 * len(ways) + 1.6)
    axes = figure.subplots(1, len(agents), sharey=True, squeeze=False)[0]
    for axis, agent in zip(axes, agents, strict=True):
        draw(axis, agent, [*ways], [point for point in points if point.agent == agent])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save(figure, out / "compression.png")
    write_whole(out / "compression.csv", ("\n".join(table(points)) + "\n").encode())
    text = "\n".join(report(points, seeds, smoke)) + "\n"
    write_whole(out / "report.md", text.encode())
    print(text)


def measured(agent: str, model: BaseAlgorithm, seed: int, ways: Ways, densities: tuple[float, ...]) -> Iterator[Point]:
    """Every criterion and density on one agent."""
    weights = {name: p.detach().clone() for name, p in prunable_weights(model).items()}
    policy = LinearPolicy(model)
    maximal = sum(weight.numel() for weight in weights.values()) / len(weights)
    for name, (criterion, scope) in ways.items():
        if isinstance(criterion, rt.AgentCriterion):
            criterion = criterion.of(model, seed=seed)
        prune = partial(rt.prune, weights, criterion=criterion, scope=scope, network_of=network_of, keep_last=False)
        for density in densities:
            mask = prune(density).mask
            flows = policy.outputs(policy.leaves(mask.apply(weights)))
            empty = sum(count.kept == 0 for count in mask.layers.values())
            yield Point(agent, name, seed, density, empty, sum(not bool(flow > 0) for flow in flows), maximal)
    env = model.get_env()
    assert env is not None
    env.close()


def critical(points: list[Point], ok: Callable[[Point], bool]) -> float:
    """The largest compression down to which all was well; nothing is lost before pruning begins."""
    whole = [*takewhile(ok, sorted(points, key=lambda point: -point.density))]
    return 1 / whole[-1].density


def layers_full(point: Point) -> bool:
    """Whether every layer has a weight."""
    return point.empty == 0


def heads_hear(point: Point) -> bool:
    """Whether a path leads to every head."""
    return point.deaf == 0


def of_seeds(points: list[Point], ok: Callable[[Point], bool]) -> list[float]:
    """Critical compression of each seed."""
    seeds = sorted({point.seed for point in points})
    return [critical([point for point in points if point.seed == seed], ok) for seed in seeds]


def draw(axis: Axes, agent: str, names: list[str], points: list[Point]) -> None:
    """A line for each criterion: its critical compressions, seed by seed, and where the maximal one is."""
    kinds = ((layers_full, "o", BLUE, "no layer empty", -0.16), (heads_hear, "D", ORANGE, "every head hears", 0.16))
    for place, name in enumerate(names):
        own = [point for point in points if point.criterion == name]
        for ok, marker, colour, label, off in kinds:
            values = of_seeds(own, ok)
            axis.plot([1, np.median(values)], [place + off] * 2, color=colour, alpha=0.3, linewidth=2)
            axis.plot(
                values, [place + off] * len(values), marker, color=colour, markersize=4.5, label="" if place else label
            )
    axis.axvline(points[0].maximal, color=INK, linestyle="--", linewidth=1, label="maximal: one weight a layer")
    axis.axvline(1 / min(point.density for point in points), color=MUTED, linestyle=":", linewidth=1)
    axis.set(title=agent, xscale="log", xlabel="critical compression")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#e6e8ec")


def table(points: list[Point]) -> Iterator[str]:
    """The lines of compression.csv: each density once for all that is the same there."""
    yield "agent,criterion,seed,maximal,densities,empty_layers,deaf_heads"
    runs: dict[tuple[str, str, int, float], list[Point]] = {}
    for point in points:
        runs.setdefault((point.agent, point.criterion, point.seed, point.maximal), []).append(point)
    for (agent, criterion, seed, maximal), own in runs.items():
        columns = (
            " ".join(f"{point.density:.4g}" for point in own),
            " ".join(str(point.empty) for point in own),
            " ".join(str(point.deaf) for point in own),
        )
        yield f'"{agent}","{criterion}",{seed},{maximal:.6g},{",".join(columns)}'


def report(points: list[Point], seeds: int, smoke: bool) -> Iterator[str]:
    """The lines of report.md."""
    yield f"# Critical against maximal compression\n\nMade by `{COMMAND}{' --smoke' if smoke else ''}`.\n"
    yield "![Compression](compression.png)\n"
    last = 1 / min(point.density for point in points)
    yield "Weights per kept weight, the largest down to which no layer is empty / every head hears an input: median"
    yield f"[smallest, largest] of {seeds} seeds. Measured up to {last:,.0f}, in steps of a quarter decade; maximal is"
    yield "one weight a layer.\n"
    agents = [*dict.fromkeys(point.agent for point in points)]
    rows = []
    for name in dict.fromkeys(point.criterion for point in points):
        cells = [[p for p in points if (p.agent, p.criterion) == (agent, name)] for agent in agents]
        told = (f"{spread(of_seeds(own, layers_full))} / {spread(of_seeds(own, heads_hear))}" for own in cells)
        rows.append((name, *told))
    most = (f"{next(p.maximal for p in points if p.agent == agent):,.0f}" for agent in agents)
    rows.append(("maximal", *most))
    yield markdown_table(("criterion", *agents), rows, words=range(1 + len(agents)))


def spread(values: list[float]) -> str:
    """Median [smallest, largest], or one figure where all are the same."""
    low, middle, high = map(shown, np.quantile(values, (0, 0.5, 1)))
    return middle if low == high else f"{middle} [{low}, {high}]"


def shown(compression: float) -> str:
    """To three digits."""
    return f"{compression:,.3g}" if compression < 100 else f"{compression:,.0f}"


if __name__ == "__main__":
    tyro.cli(main)
