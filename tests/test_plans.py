"""Plans, controls, observers and moving masks of one's own: a short file outside the package, as good as ours."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import PPO_EXPERIMENT, assert_same, counted, forked, make_ppo, trained_steps

import rl_tickets as rt
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run
from rl_tickets.report.tables import read_levels, read_series

EXPERIMENT = replace(PPO_EXPERIMENT, seeds=3, dense_seeds=3, trainer=rt.Cohorts(seeds=2))


@dataclass(frozen=True)
class AtInitialisation(rt.Plan):
    """Prunes before any training: there is no dense level, and each density is a training of its own, all at once."""

    seed: int = 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def search(self, setup: rt.Setup) -> rt.Search:
        model = setup.make_model(setup.seed)
        start = rt.TrainingState.capture(model).only("weights")
        dense = rt.Mask.dense(model, setup.prunable)
        weights = {name: start.policy[name] for name in dense}
        criterion = partial(rt.random_scores, seed=self.seed)
        masks = [rt.prune(weights, density, criterion=criterion).mask for density in setup.densities[1:]]
        tickets = [rt.Ticket(mask, start.policy, {"tensors": {}, "copies": {}}) for mask in masks]
        trained = yield [rt.Training(level, ticket=t, start=start) for level, t in enumerate(tickets, start=1)]
        assert [each.mask for each in trained] == masks


@dataclass(frozen=True)
class Swap(rt.During):
    """At every rollout each layer's two smallest weights go, and the pruned ones with the largest gradient come."""

    table, columns = "swaps", ("timesteps", "kept")

    def observer(self, prunable: Any) -> rt.Observer:
        return Swapping()


class Swapping(rt.Observer):
    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[int, int]] = []

    def progress(self) -> dict[str, Any]:
        return {"rows": list(self._rows)}

    def resume(self, progress: dict[str, Any]) -> None:
        self._rows = list(progress["rows"])

    def rows(self) -> Sequence[tuple[int, int]]:
        return self._rows

    def _on_rollout_start(self) -> None:
        held = rt.hold_of(self.model)
        assert held is not None
        held.watch()
        named = dict(self.model.policy.named_parameters())
        if self.model._n_updates:
            # The two actions' gradients are equal in size, so that rounding would choose in the action head.
            mask = dict(held.mask)
            hidden = {n: swapped(named[n], kept, held.gradient[n]) for n, kept in mask.items() if "action" not in n}
            held.change(rt.Mask(mask | hidden))
        self._rows.append((self.model.num_timesteps, held.mask.kept))


def swapped(weight: torch.Tensor, kept: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    bits, count = kept.flatten().clone(), min(2, int(kept.sum()), int((~kept).sum()))
    smallest = weight.detach().abs().flatten().masked_fill(~bits, torch.inf).argsort(stable=True)[:count]
    largest = gradient.abs().flatten().masked_fill(bits, -1.0).argsort(stable=True, descending=True)[:count]
    bits[smallest], bits[largest] = False, True
    return bits.reshape(kept.shape)


@dataclass(frozen=True)
class Dynamic(rt.Plan):
    """Dynamic sparse training from a random mask."""

    def search(self, setup: rt.Setup) -> rt.Search:
        model = setup.make_model(setup.seed)
        start = rt.TrainingState.capture(model).only("weights")
        weights = {name: start.policy[name] for name in rt.Mask.dense(model)}
        for level, density in enumerate(setup.densities[1:], start=1):
            mask = rt.prune(weights, density, criterion=rt.random_scores).mask
            ticket = rt.Ticket(mask, start.policy, {"tensors": {}, "copies": {}})
            yield rt.Training(level, ticket=ticket, start=start, during=(Swap(),))


@dataclass(frozen=True)
class Twins(rt.Plan):
    """Two copies of the dense agent from the same weights, with different draws."""

    def trainings(self, setup: rt.Setup) -> tuple[rt.Name, ...]:
        return (rt.Name(0, "one"), rt.Name(0, "other"), rt.Name(0, "same"))

    def search(self, setup: rt.Setup) -> rt.Search:
        draws = {"one": 7, "other": 8, "same": 7}
        trained = yield [rt.Training(0, variant=name, draws=seed) for name, seed in draws.items()]
        assert len(trained) == 3


def negated(ticket: rt.Ticket, make_model: Any = None, *, seed: int) -> rt.Ticket:
    """A control of one's own: every weight with the other sign."""
    return replace(ticket, weights={name: -weight for name, weight in ticket.weights.items()})


OWN = replace(
    EXPERIMENT,
    searches={
        "at_init": AtInitialisation(),
        "dynamic": Dynamic(),
        "negated": rt.Control(negated, of="at_init"),
        "moved_too": rt.Control(rt.random_reinit, of="dynamic"),
        "twins": Twins(),
    },
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plans")
    rt.run(OWN, jobs=1, out=out)
    return out


def test_plans_of_ones_own_are_trained_stored_and_reported(out: Path) -> None:
    rows = {row.run: row for row in read_levels(out / "tiny")}
    names = {(run.search, run.level, run.variant) for run in rows}
    sparse = {(name, level, "") for name in ("at_init", "dynamic", "negated", "moved_too") for level in (1, 2)}
    assert names == {("dense", 0, ""), *(("twins", 0, v) for v in ("one", "other", "same")), *sparse}
    for run, row in rows.items():
        assert row.timesteps == OWN.total_timesteps
        if run.level:
            assert row.density == pytest.approx(OWN.densities[run.level], abs=2e-3)
        assert bool(row.ticket) == (run.search not in ("negated", "moved_too")), "controls leave no tickets"
    report = (out / "tiny" / "report.md").read_text()
    assert "- `at_init`: AtInitialisation(seed=0)" in report
    assert "- `negated`: Control(make=negated, of=at_init)" in report


def test_a_control_of_a_ticket_that_says_no_start_begins_with_the_controls_weights() -> None:
    requests = next(AtInitialisation().search(EXPERIMENT.setup(0)))
    assert isinstance(requests, list)
    request = requests[0]
    assert request.ticket is not None
    outcome: Any = (replace(request, start=None), None)
    (control,) = rt.Control(negated, of="at_init").search(EXPERIMENT.setup(0, lambda name: [outcome]))
    assert isinstance(control, rt.Training)
    assert control.start is not None
    for name, weight in request.ticket.weights.items():
        assert torch.equal(control.start.policy[name], -weight)


def test_a_mask_that_moves_is_told_by_ticket_and_rows(out: Path) -> None:
    for row in read_levels(out / "tiny"):
        if row.run.search == "dynamic":
            ticket = rt.Ticket.load(out / "tiny" / row.ticket)
            trained = Store(out / "tiny").trained(row.run)
            assert trained is not None
            assert ticket.mask == trained.mask
            assert ticket.provenance["moved_from"] != ticket.mask.digest
            for name, kept in ticket.mask.items():
                assert not trained.end.policy[name][~kept].any()
    swaps = read_series(out / "tiny", "swaps")
    assert {series.run.search for series in swaps} == {"dynamic", "moved_too"}, "a control goes through the same"
    for series in swaps:
        assert list(series.columns["timesteps"]) == list(range(0, OWN.total_timesteps, 32))
        assert len(set(series.columns["kept"])) == 1, "as many come as go"


def test_draws_are_all_that_differs_between_copies(out: Path) -> None:
    def end(variant: str) -> dict[str, torch.Tensor]:
        trained = Store(out / "tiny").trained(Run("twins", 0, 0, variant))
        assert trained is not None
        return trained.end.policy

    one, other, same = (end(variant) for variant in ("one", "other", "same"))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(torch.allclose(one[name], same[name], atol=1e-6) for name in one)


@pytest.mark.parametrize("trainer", [rt.Plain(), rt.Cohorts(seeds=2)])
def test_killed_and_resumed_they_end_with_the_same_bytes(trainer: Any, out: Path, tmp_path: Path) -> None:
    experiment, reference = OWN, out
    if isinstance(trainer, rt.Plain):
        # Every seed is a group of its own: another would only do the same.
        experiment, reference = replace(OWN, trainer=trainer, seeds=1, dense_seeds=1), tmp_path / "reference"
        rt.run(experiment, jobs=1, out=reference)
    act = partial(rt.run, experiment, jobs=1, out=tmp_path)
    killed = 0
    with counted(tmp_path / "steps"):
        for share in (0.25, 0.6):
            steps = share * trained_steps(reference / "tiny")
            status = forked(act, kill_when=lambda: (tmp_path / "steps").stat().st_size > steps)  # noqa: B023
            killed += status == -signal.SIGKILL
        assert killed == 2
        assert forked(act) == 0
    assert_same(tmp_path / "tiny", reference / "tiny")


def test_both_trainers_train_them_the_same(tmp_path: Path) -> None:
    """Few rollouts: rounding can turn a choice between two gradients, and all is different from there on."""
    small = replace(OWN, seeds=2, dense_seeds=2, total_timesteps=96)
    for trainer in (rt.Cohorts(seeds=2), rt.Plain()):
        rt.run(replace(small, trainer=trainer), jobs=1, out=tmp_path / type(trainer).__name__)
    ours, theirs = (Store(tmp_path / name / "tiny") for name in ("Cohorts", "Plain"))
    assert len(ours.finished()) == 2 * (1 + 4 * 2 + 3)
    for run in ours.finished():
        mine, plain = ours.trained(run), theirs.trained(run)
        assert mine is not None
        assert plain is not None
        assert mine.mask == plain.mask
        for name, weight in mine.end.policy.items():
            assert torch.allclose(weight, plain.end.policy[name], atol=1e-4), (run, name)


def failing(**settings: Any) -> rt.Experiment:
    return replace(EXPERIMENT, seeds=1, dense_seeds=1, **settings)


@dataclass(frozen=True)
class Forgetful(rt.Plan):
    """Yields less than it says, or more."""

    says: int
    does: int

    def trainings(self, setup: rt.Setup) -> tuple[rt.Name, ...]:
        return tuple(rt.Name(0, f"v{index}") for index in range(self.says))

    def search(self, setup: rt.Setup) -> rt.Search:
        for index in range(self.does):
            yield rt.Training(0, variant=f"v{index}", until=32)


@dataclass(frozen=True)
class Nosy(rt.Plan):
    """Looks at another plan without saying so."""

    def search(self, setup: rt.Setup) -> Iterator[Any]:  # type: ignore[override]
        list(setup.tickets("imp"))
        yield rt.Training(1)


@dataclass(frozen=True)
class Circular(Nosy):
    needs = ("other",)


@pytest.mark.parametrize(
    ("searches", "sentence"),
    [
        ({"f": Forgetful(2, 1)}, "search 'f', seed 0, level 0, variant 'v1': its plan names this training"),
        ({"f": Forgetful(1, 2)}, "level 0, variant 'v1': asked for twice, or not among the trainings"),
        ({"n": Nosy(), "imp": rt.IMP()}, "'n' asks for 'imp', which is not finished: it must need it"),
        ({"c": Circular()}, "search 'c' needs 'other', which is not in this experiment; add it"),
        ({"c": Circular(), "other": rt.Control(rt.random_reinit, of="c")}, "these searches need each other"),
    ],
)
def test_a_plan_that_contradicts_itself_is_told(searches: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        rt.run(failing(searches=searches), jobs=1, out=tmp_path)


def test_what_is_no_training_is_refused() -> None:
    @dataclass(frozen=True)
    class Wrong(rt.Plan):
        def search(self, setup: rt.Setup) -> Iterator[Any]:  # type: ignore[override]
            yield "a training"

    from rl_tickets.search.driving import side_by_side

    plan = Wrong()
    with pytest.raises(TypeError, match="a search yields a Training, or a sequence of them, not 'a training'"):
        next(side_by_side({0: plan.search(rt.Setup(make_ppo, 0, 100, (1.0, 0.5)))}))


def test_two_observers_of_one_table_and_odd_variants_are_refused() -> None:
    with pytest.raises(ValueError, match="two observers of one training write the table 'swaps'"):
        rt.Training(0, during=(Swap(), Swap()))
    with pytest.raises(ValueError, match="a variant cannot be called 'a/b'"):
        rt.Training(0, variant="a/b")
