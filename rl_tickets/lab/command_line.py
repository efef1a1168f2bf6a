"""The command line that every script of an experiment shares."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from rl_tickets.agents.anatomy import rollout_steps, shortest_run
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.ray_executor import RayExecutor
from rl_tickets.lab.run import run, run_share
from rl_tickets.lab.share import Share
from rl_tickets.lab.user_errors import mendable
from rl_tickets.report import Summary, terminal_table
from rl_tickets.search.plan import Plan
from rl_tickets.training.trainers import Cohorts, Plain

SMOKE_LEVELS = 3
SMOKE_SEEDS = 2
SMOKE_EPISODES = 2
SMOKE_RANDOM = 20


@dataclass(frozen=True)
class Flags:
    """What may be changed from the command line; what is not given stays as the script says."""

    seeds: int | None = None
    """Number of training seeds."""
    dense_seeds: int | None = None
    """Number of dense runs, those of the training seeds among them; by default five for each of --seeds."""
    levels: int | None = None
    """Number of levels, the dense level 0 included."""
    timesteps: int | None = None
    """Environment steps of every level; rewind points keep their fraction of it."""
    searches: tuple[str, ...] | None = None
    """Names of the searches and controls to run; by default all of the script's."""
    trainer: Literal["cohort", "plain"] | None = None
    """How agents are trained: several seeds in lock-step, or each by SB3's own `learn`."""
    jobs: int | None = None
    """Worker processes, each with one torch thread; by default one for each core. With --ray: tasks at a time."""
    out: Path = Path("results")
    """Parent of the results folder."""
    share: str | None = None
    """Do only such a part of the experiment, like 3/16, beside jobs that do the others in the same folder."""
    ray: str | None = None
    """Address (host:port) of a Ray cluster to train on, or "auto"; its nodes must share the results folder."""
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """A run of a minute or two that shows everything works and proves nothing."""

    def apply(self, experiment: Experiment) -> Experiment:
        """The experiment with these changes; smoke runs and changed ones get a folder of their own by --out."""
        flags, model = self, None
        if self.smoke:
            experiment = replace(
                experiment,
                name=f"{experiment.name}_smoke",
                episodes=SMOKE_EPISODES,
                random_episodes=SMOKE_RANDOM,
                searches={name: plan.everywhere() for name, plan in experiment.searches.items()},
            )
            model = experiment.make_model(0)
            shortest = shortest_run(model)
            flags = replace(
                self,
                seeds=(seeds := SMOKE_SEEDS if self.seeds is None else self.seeds),
                dense_seeds=seeds if self.dense_seeds is None else self.dense_seeds,
                levels=SMOKE_LEVELS if self.levels is None else self.levels,
                timesteps=shortest if self.timesteps is None else self.timesteps,
            )
        if flags.searches is not None:
            experiment = replace(experiment, searches=_chosen(experiment.searches, flags.searches))
        if flags.trainer is not None:
            cohorts = experiment.trainer if isinstance(experiment.trainer, Cohorts) else Cohorts()
            experiment = replace(experiment, trainer=Plain() if flags.trainer == "plain" else cohorts)
        if flags.seeds is not None:
            experiment = replace(experiment, seeds=flags.seeds, dense_seeds=flags.dense_seeds)
        elif flags.dense_seeds is not None:
            experiment = replace(experiment, dense_seeds=flags.dense_seeds)
        if flags.levels is not None:
            experiment = replace(experiment, densities=_extend(tuple(experiment.densities), flags.levels))
        if flags.timesteps is not None:
            if flags.timesteps < 1:
                raise ValueError(f"--timesteps must be at least 1 environment step, got {flags.timesteps}")
            model = model or experiment.make_model(0)
            experiment = experiment.scaled(flags.timesteps, rollout=rollout_steps(model))
        return replace(experiment, command=self.command())

    def command(self) -> str:
        """The command line that gives these results again, without what does not change them."""
        names = ("seeds", "dense_seeds", "levels", "timesteps", "trainer")
        given = [f"--{name.replace('_', '-')} {value}" for name in names if (value := getattr(self, name))]
        given += [f"--searches {' '.join(self.searches)}"] if self.searches else []
        return " ".join(["python", called_script(), *given, *(["--smoke"] if self.smoke else [])])


def called_script() -> str:
    """The script that runs, as it is called from the working directory; its name alone where it lies elsewhere."""
    path = Path(sys.argv[0])
    if not path.is_absolute():
        return path.as_posix()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.name


def _chosen(searches: Mapping[str, Plan], names: tuple[str, ...]) -> dict[str, Plan]:
    if not names:
        raise ValueError(f"--searches needs names of searches; choose from: {', '.join(searches)}")
    for name in names:
        if name not in searches:
            raise ValueError(f"this script has no search {name!r}; choose from: {', '.join(searches)}")
    return {name: plan for name, plan in searches.items() if name in names}


def _extend(densities: tuple[float, ...], levels: int) -> tuple[float, ...]:
    """The first `levels` densities, going on with the last ratio where there are fewer."""
    if levels < 2:
        raise ValueError(f"--levels must be at least 2, the dense one and a sparse one, got {levels}")
    while len(densities) < levels:
        densities = (*densities, densities[-1] * densities[-1] / densities[-2])
    return densities[:levels]


def main(
    experiment: Experiment, *, description: str = "", extra: str | None = None, arguments: list[str] | None = None
) -> None:
    """Runs a script's experiment with the flags of the command line, and shows what came out.

    What a user can mend ends with one sentence and exit status 2; Ctrl-C with 130, everything finished kept.

    Args:
        experiment: what the script runs, before the flags.
        description: what it asks, for --help; a script's own `__doc__`.
        extra: the extra of this package that brings the environment.
        arguments: in place of the command line's.

    Example:
        if __name__ == "__main__":
            rt.main(experiment, description=__doc__)
    """
    flags = tyro.cli(Flags, args=arguments, description=f"{description.strip()}\n\n{_told(experiment)}".strip())
    with mendable(extra=extra):
        experiment = flags.apply(experiment)
        summary = _run(experiment, flags)
    _show(summary, flags.out / experiment.name)


def _told(experiment: Experiment) -> str:
    """What is trained where no flag says otherwise."""
    kinds = {name: "" if plan.control_of is None else " (control)" for name, plan in experiment.searches.items()}
    searches = ", ".join(name + kind for name, kind in kinds.items()) or "no searches"
    levels = f"{len(experiment.densities)} levels down to density {experiment.densities[-1]:.3g}"
    runs = f"{len(experiment.all_seeds)} seeds and {len(experiment.pool)} dense runs"
    steps = f"{experiment.total_timesteps:,} environment steps each"
    return f"{experiment.name}: {runs}, {levels}, {steps}; {searches}."


def _run(experiment: Experiment, flags: Flags) -> Summary | None:
    share = None if flags.share is None else Share.parse(flags.share)
    with nullcontext() if flags.ray is None else RayExecutor(flags.ray) as executor:
        if share is None:
            return run(experiment, jobs=flags.jobs, out=flags.out, executor=executor)
        return run_share(experiment, share, jobs=flags.jobs, out=flags.out, executor=executor)


def _show(summary: Summary | None, folder: Path) -> None:
    out = Console()
    if summary is None:
        out.print(f"This share of {folder} is done; the last of the others writes the report.", soft_wrap=True)
        return
    out.print(terminal_table(summary))
    out.print(f"Report      {folder / 'report.md'}", soft_wrap=True)
    out.print(f"Plot        {folder / 'return_vs_density.png'}", soft_wrap=True)
    out.print(f"TensorBoard tensorboard --logdir {folder / 'tensorboard'}", soft_wrap=True)
