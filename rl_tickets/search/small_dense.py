"""A small dense agent beside each ticket: whether as many weights, without any sparsity, would have done as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.describing import describe_agent
from rl_tickets.agents.making import MakeModel, built
from rl_tickets.search.control_plan import ControlPlan
from rl_tickets.search.plan import Search, Setup
from rl_tickets.search.widths import MakeOfWidth, Widths
from rl_tickets.tickets.densities import as_floats
from rl_tickets.tickets.mask import Mask, Prunable, kept_count
from rl_tickets.training.during import During, Observer, Row
from rl_tickets.training.requests import Trained, Training

SIZES = ("net_arch", "features_extractor_kwargs", "lstm_hidden_size")
"""Arguments of a policy that may change with its width."""


@dataclass(frozen=True)
class SmallDense(ControlPlan):
    """Trains, beside every ticket of another plan, a dense agent with as many weights, for the whole budget.

    Its width is the one at which its number of prunable weights is nearest to the number that the ticket keeps; both
    are told (`sizes.csv`). Seed and draws are the ticket's own; weights are those of its own initialisation. Its
    density is told as its share of the experiment's agent's weights.

    Args:
        make: `(seed, width) -> model`, which differs from the experiment's `make_model` in the size of the network
            alone, and gives more weights the larger the width.
        of: name of the plan whose tickets it stands beside.
        at: densities at which it does, of those that the other plan aims at; None: at all.

    Raises:
        TypeError: `make` is no function.

    Example:
        >>> def small(seed, width):
        ...     return PPO("MlpPolicy", make_env(), policy_kwargs={"net_arch": [width, width]}, seed=seed)
        >>> SmallDense(small, at=(0.1,)).control_of
        'imp'
    """

    make: MakeOfWidth
    of: str = "imp"
    at: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise TypeError(f"a small dense agent is made by a function `(seed, width) -> model`, not by {self.make!r}")
        if self.at is not None:
            object.__setattr__(self, "at", as_floats(self.at))

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        widths = Widths(self.make, setup.prunable)
        with built(setup.make_model, setup.seed) as model:
            whole = sum(weight.numel() for weight in prunable_weights(model, setup.prunable).values())
        for request, ticket in self.tickets(setup):
            # The ticket may cover one network alone; the other's weights are all kept.
            kept = whole - ticket.mask.total + ticket.mask.kept
            width = widths.nearest(kept)
            size = Size(width, widths.weights(width), kept)
            yield Training(
                request.level,
                request.variant,
                during=(size,),
                draws=request.draws,
                prunable=setup.prunable,
                make_model=widths.make_model(width),
                dense_weights=whole,
            )

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`; the small agent must differ from the experiment's in its size alone."""
        total = Mask.dense(model, setup.prunable).total
        widths = Widths(self.make, setup.prunable)
        with built(widths.make_model(widths.nearest(total)), setup.seed) as small:
            ours, theirs = (_without_size(describe_agent(agent)) for agent in (model, small))
        for name in ours:
            if ours[name] != theirs[name]:
                raise ValueError(
                    f"the small dense agent differs from the experiment's in {_difference(name, ours, theirs)}; let "
                    "`make` change the size of the network alone"
                )
        if widths.weights(2) <= widths.weights(1):
            raise ValueError("`make(seed, width)` ignores its width: agents of width 2 have no more weights than of 1")
        for level, density in enumerate(self.aims(setup)):
            if level and self.stands_at(level, setup) and widths.weights(1) > kept_count(density, total):
                raise ValueError(
                    f"density {density:g} keeps {kept_count(density, total)} weights, fewer than the "
                    f"{widths.weights(1)} of the smallest agent that `make` gives, of width 1; choose the densities "
                    "that have a small dense agent by `at`"
                )

    def make_model_of(self, trained: Trained, setup: Setup) -> MakeModel:
        """See `Plan`."""
        widths, weights = Widths(self.make, setup.prunable), trained.mask.total
        width = widths.nearest(weights)
        if widths.weights(width) != weights:
            raise ValueError(f"`make` gives no agent with {weights:,} prunable weights any more")
        return widths.make_model(width)


@dataclass(frozen=True)
class Size(During):
    """Tells the size of the agent that is trained, and what it stands beside.

    Args:
        width: of its network.
        weights: that it has, prunable ones.
        ticket_weights: that the ticket keeps.
    """

    width: int
    weights: int
    ticket_weights: int
    table, columns = "sizes", ("width", "weights", "ticket_weights")

    def observer(self, prunable: Prunable | None) -> Observer:
        """See `During`."""
        return _Telling((self.width, self.weights, self.ticket_weights))


class _Telling(Observer):
    """One row that is known beforehand."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self._row = row

    def rows(self) -> Sequence[Row]:
        return (self._row,)


def _without_size(described: dict[str, Any]) -> dict[str, Any]:
    """What must be alike: of the modules their kinds, of `policy_kwargs` all but the sizes of layers."""
    alike = {name: value for name, value in described.items() if name not in ("modules", "parameters")}
    kinds = {module.partition("(")[0] for module in described["modules"].values()}
    options = {name: value for name, value in (described["policy_kwargs"] or {}).items() if name not in SIZES}
    return {**alike, "policy_kwargs": options, "kinds of modules": sorted(kinds)}


def _difference(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What differs there, down to a single setting."""
    one, other = ours.get(name), theirs.get(name)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                return f"{name} {_difference(key, one, other)}"
    return f"{name}: {other!r} in place of {one!r}"
