"""Recording a training: its final policy played, and everything that is known of it written down."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.networks import Network, network_of
from rl_tickets.agents.paths import Paths, paths
from rl_tickets.evaluation.returns import Played, play_both_ways
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.store import Store
from rl_tickets.report import write_level
from rl_tickets.report.rows import LayerRow, LevelRow, Row, Run, Series, TimingRow
from rl_tickets.search.plan import DENSE
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.curve import LearningCurve
from rl_tickets.training.during import During
from rl_tickets.training.requests import Trained, Training
from rl_tickets.training.runs import TrainingRun
from rl_tickets.training.ticketing import ticket_of


class UnknownPathsWarning(UserWarning):
    """What feeds what in an agent is not understood, so that nobody can tell which of its kept weights are dead."""


@dataclass(frozen=True)
class Recorder:
    """Writes down what came of a plan's trainings.

    Args:
        experiment: what they are a part of.
        store: where it is written.
        plan: name of the plan.
    """

    experiment: Experiment
    store: Store
    plan: str

    def identity(self, seed: int, request: Training) -> Run:
        """What a training is called in this experiment."""
        return Run(self.plan, seed, request.level, request.variant)

    def play(self, runs: Sequence[TrainingRun]) -> list[Played]:
        """Lets the final policies of trainings play the evaluation's episodes, all of them side by side."""
        experiment = self.experiment
        models = [run.model for run in runs]
        return play_both_ways(
            models, experiment.make_env, episodes=experiment.episodes, seed=experiment.evaluation_seed
        )

    def record(self, seed: int, run: TrainingRun, played: Played, before: Mask | None, seconds: float) -> Trained:
        """Writes down a trained level; its environments are closed.

        Args:
            seed: the training seed.
            run: that has just been trained.
            played: what its final policy returned.
            before: the mask of the seed's training before, None where this is the first.
            seconds: that training and evaluation took.
        """
        began = time.monotonic()
        request, model = run.request, run.model
        identity = self.identity(seed, request)
        trained = run.finish()
        model.logger.close()
        ticket = ticket_of(request, trained)
        moved = 0.0
        if request.level > 0 and request.ticket is not None:
            # The first of a search may cover some layers of the dense run's mask alone.
            earlier = Mask.full(trained.mask) if before is None else before.part(trained.mask)
            moved = trained.mask.kept_distance(earlier)
        found = self._paths(identity, run, trained)
        level = self._level_row(identity, request, trained, ticket, played, moved, found)
        timing = TimingRow(identity, round(seconds + time.monotonic() - began, 3), platform.node())
        self._show(identity, run, trained, level, found)
        rows: list[Row] = [level, timing, LayerRow(identity, _counts(trained.mask)), returns_row(identity, played)]
        observing = [each for each in (LearningCurve(), *request.during) if trained.observed[each.table]]
        rows += [_series(identity, each, trained) for each in observing]
        rows += _reads(identity, found, trained) if found else []
        self.store.finish(identity, trained, rows, keep=self._keeps(seed, request))
        if (env := model.get_env()) is not None:
            env.close()
        return trained

    def _paths(self, identity: Run, run: TrainingRun, trained: Trained) -> Paths | None:
        """What of the mask lies on a path; None where that is not understood, which the first dense run says."""
        try:
            return paths(run.whole, trained.mask)
        except WiringError as error:
            if identity == Run(DENSE, self.experiment.all_seeds[0], 0):
                warnings.warn(f"effective densities stay blank: {error}", UnknownPathsWarning, stacklevel=2)
            return None

    def _level_row(
        self,
        run: Run,
        request: Training,
        trained: Trained,
        ticket: Ticket,
        played: Played,
        moved: float,
        found: Paths | None,
    ) -> LevelRow:
        path = ""
        if self.experiment.plans[self.plan].keeps_tickets:
            path = str(ticket.save(self.store.ticket(run)).relative_to(self.store.folder))
        return LevelRow(
            run=run,
            density=_share(request, trained.mask),
            mean_return=float(played.greedy.returns.mean()),
            timesteps=trained.timesteps,
            start=request.begins_at(),
            mask_distance=moved,
            diverged=trained.diverged,
            problem=trained.problem,
            collapsed=" ".join(ticket.provenance.get("collapsed", ())),
            ticket=path,
            overall_density=None if request.dense_weights else ticket.overall_density,
            sampled_return=sampled_return(played),
            spent=request.spent,
            effective_density=_share(request, found.live) if found else None,
            effective_actor_density=_density_of("actor", found, request, trained) if found else None,
            effective_critic_density=_density_of("critic", found, request, trained) if found else None,
            live_units=found.live_units if found else None,
        )

    def _keeps(self, seed: int, request: Training) -> bool:
        if self.experiment.keep != "last":
            return self.experiment.keep == "all"
        setup = self.experiment.setup(seed)
        return request.level == max(name.level for name in self.experiment.plans[self.plan].trainings(setup))

    def _show(self, identity: Run, run: TrainingRun, trained: Trained, level: LevelRow, found: Paths | None) -> None:
        write_level(
            self.store.tensorboard(identity),
            step=run.model.num_timesteps,
            density=level.density,
            overall_density=level.overall_density,
            mask_distance=level.mask_distance,
            eval_return=level.mean_return,
            sampled_return=level.sampled_return,
            masks={name: kept.numpy() for name, kept in trained.mask.items()},
            weights={name: trained.end.policy[name].numpy() for name in trained.mask},
            live={name: live.numpy() for name, live in found.live.items()} if found else None,
            live_units={name: units.numpy() for name, units in found.units.items()} if found else None,
        )


def _share(request: Training, mask: Mask) -> float:
    """Kept weights among all of the agent's, or of the dense one that the request counts them among."""
    return mask.density if request.dense_weights is None else mask.kept / request.dense_weights


def _density_of(network: Network, found: Paths, request: Training, trained: Trained) -> float | None:
    """Effective density of the actor's or the critic's own layers; of another dense agent's, nobody counted them."""
    if request.dense_weights is not None:
        return None
    counts = [layer for name, layer in found.live.layers.items() if network_of(name, trained.copies) == network]
    return sum(layer.kept for layer in counts) / sum(layer.total for layer in counts) if counts else None


def _reads(run: Run, found: Paths, trained: Trained) -> list[Series]:
    """How many weights of each network read each dimension of the observation; none where no layer that may be pruned
    sees it."""
    networks: dict[str, torch.Tensor] = {}
    for name, counts in found.reads.items():
        network = network_of(name, trained.copies)
        networks[network] = networks.get(network, torch.zeros_like(counts)) + counts
    columns = {network: counts.tolist() for network, counts in sorted(networks.items())}
    return [Series("inputs", run, columns)] if columns else []


def _counts(mask: Mask) -> dict[str, tuple[int, int]]:
    return {name: (count.kept, count.total) for name, count in mask.layers.items()}


def sampled_return(played: Played) -> float | None:
    """The mean return of a policy played as it was trained; None where it plays greedily then, too."""
    return None if played.sampled is None else float(played.sampled.returns.mean())


def returns_row(run: Run, played: Played) -> Series:
    """Returns and lengths of a policy's episodes, in each way in which it was played."""
    columns = {"returns": played.greedy.returns.tolist(), "lengths": played.greedy.lengths.tolist()}
    if played.sampled is not None:
        columns["sampled_returns"] = played.sampled.returns.tolist()
        columns["sampled_lengths"] = played.sampled.lengths.tolist()
    return Series("returns", run, columns)


def _series(run: Run, during: During, trained: Trained) -> Series:
    columns = zip(*trained.observed[during.table], strict=True)
    return Series(during.table, run, dict(zip(during.columns, map(list, columns), strict=True)))
