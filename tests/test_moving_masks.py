"""Masks that move: whoever changes a mask tells its hold, and training goes on exactly, plain or in lock-step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, differing, pendulum, small, sparse_mask, started
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import Hold, held_mask, hold_of
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.cohorts.cohort import Cohort
from rl_tickets.training.cohorts.joining import shape_of
from rl_tickets.training.cohorts.on_policy.group import OnPolicyGroup
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting, TrainingRun

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
Make = Callable[[int], BaseAlgorithm]
TF = {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}}


def ppo(seed: int, env: Any = pendulum, kwargs: dict[str, Any] | None = None, **changes: Any) -> PPO:
    settings = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "learning_rate": 3e-3, **changes}
    return PPO("MlpPolicy", env(), seed=seed, device="cpu", policy_kwargs=small(**(kwargs or {})), **settings)


def a2c(seed: int, env: Any = pendulum, kwargs: dict[str, Any] | None = None, **changes: Any) -> A2C:
    return A2C("MlpPolicy", env(), n_steps=8, seed=seed, device="cpu", policy_kwargs=small(**(kwargs or {})), **changes)


# One action each: of CartPole's two the gradients are equal in size, and rounding would decide which weight goes.
AGENTS: dict[str, Make] = {
    "ppo with adam": ppo,
    "ppo with tensorflow's rmsprop": partial(ppo, kwargs=TF, learning_rate=1e-3),
    "ppo that stops at target_kl": partial(ppo, target_kl=5e-3, n_epochs=5, learning_rate=2e-2),
    "a2c with adam": partial(a2c, use_rms_prop=False),
    "a2c with tensorflow's rmsprop": partial(a2c, env=partial(pendulum, 2), kwargs=TF),
}
agents = pytest.mark.parametrize("make", AGENTS.values(), ids=AGENTS)


def hold_in(model: BaseAlgorithm) -> Hold:
    held = hold_of(model)
    assert held is not None
    return held


def level(
    make: Make, seed: int, callback: Callable[[], BaseCallback] | None = None, *, held: bool = True
) -> TrainingRun:
    """A run with a mask of its own, or a dense one."""
    model = make(seed)
    ticket = Ticket(mask=sparse_mask(model, seed), weights=model.policy.state_dict(), state={}, provenance={})
    return TrainingRun(Setting(make, seed, 96, callback=callback), Training(1, ticket=ticket if held else None))


def both_ways(runs: Callable[[], list[TrainingRun]]) -> list[tuple[TrainingRun, TrainingRun]]:
    """The same runs, trained in a cohort and by SB3."""
    ours, theirs = runs(), runs()
    started(rt.Cohorts())(ours)
    rt.Plain().start()(theirs)
    return list(zip(ours, theirs, strict=True))


def assert_same_weights(one: TrainingRun, other: TrainingRun, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(one.model.policy.state_dict(), other.model.policy.state_dict(), atol=tolerance, rtol=0)


def weights(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.policy.named_parameters()}


class Rewire(BaseCallback):
    """RigL (Evci et al. 2020, arXiv 1911.11134): at each rollout the smallest go, the largest gradients come."""

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self._share = share

    def _on_training_start(self) -> None:
        hold_in(self.model).watch()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == 0:
            return
        held = hold_in(self.model)
        named, gradient = weights(self.model), held.gradient
        kept = {}
        for name, before in held.mask.items():
            count = int(self._share * int(before.sum()))
            ranked = named[name].abs().masked_fill(~before, torch.inf).flatten().argsort()
            grown = gradient[name].abs().masked_fill(before, -1).flatten().argsort(descending=True)
            after = before.flatten()
            after[ranked[:count]] = False
            after[grown[: min(count, int((~before).sum()))]] = True
            kept[name] = after.view(before.shape)
        held.change(rt.Mask(kept))

    def _on_step(self) -> bool:
        check_zeros(self.model)
        return True


def check_zeros(model: BaseAlgorithm) -> None:
    """Pruned weights, and their copies, are exactly zero."""
    state, mask = model.policy.state_dict(), hold_in(model).mask
    places = {**{name: name for name in mask}, **anatomy.copies(model)}
    assert not any(state[place][~mask[name]].any() for place, name in places.items() if name in mask)


@agents
def test_a_mask_that_moves_trains_the_same_weights_plain_and_in_a_cohort(make: Make) -> None:
    start = [sparse_mask(make(seed), seed) for seed in range(3)]
    for seed, (one, other) in enumerate(both_ways(lambda: [level(make, s, Rewire) for s in range(3)])):
        assert one.mask == other.mask == one.finish().mask
        assert one.mask.distance(start[seed]) > 0.1
        assert_same_weights(one, other)


class ChangeAt(BaseCallback):
    """Does something once, at the first step that is at least `step`."""

    def __init__(self, step: int, act: Callable[[BaseAlgorithm], object]) -> None:
        super().__init__()
        self._left, self._act = [step], act

    def _on_step(self) -> bool:
        if self._left and self.num_timesteps >= self._left[0]:
            self._left.clear()
            self._act(self.model)
        return True


def moments(model: BaseAlgorithm) -> list[tuple[str, torch.Tensor]]:
    """Every moment of every weight, with the weight's name."""
    names = {id(p): name for name, p in model.policy.named_parameters()}
    states = [(p, state) for o in anatomy.optimizers(model).values() for p, state in o.state.items() if id(p) in names]
    return [
        (names[id(p)], value)
        for p, state in states
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.shape == p.shape
    ]


@every_case
def test_changing_a_mask_in_mid_training_keeps_what_it_promises(case: Case) -> None:
    model = case.make(0)
    first, second = sparse_mask(model, 0), sparse_mask(model, 1)
    held = rt.hold(model, first)
    seen: list[str] = []

    def change(_: BaseAlgorithm) -> None:
        before = weights(model)
        held.change(second)
        check_zeros(model)
        after = weights(model)
        for name in second:
            stayed, came = first[name] & second[name], second[name] & ~first[name]
            assert torch.equal(after[name][stayed], before[name][stayed])
            assert not after[name][came].any()
        for name, moment in moments(model):
            if name in second:
                seen.append(name)
                assert not moment[~second[name]].any()
                assert not moment[second[name] & ~first[name]].any()
        for name, p in model.policy.named_parameters():
            assert p.grad is None or name not in second or not p.grad[~second[name]].any()

    model.learn(case.total, callback=ChangeAt(3 * case.total // 4, change))
    assert held_mask(model) == held.mask == second
    assert seen
    check_zeros(model)
    named = weights(model)
    assert any(named[name][second[name] & ~first[name]].any() for name in second), "what came never trained"


def test_weights_come_at_given_values_in_target_networks_too() -> None:
    model = BY_NAME["dqn"].make(0)
    first = sparse_mask(model)
    held = rt.hold(model, first)
    values = {name: torch.full(first[name].shape, 0.25) for name in list(first)[:2]}
    held.change(rt.Mask.dense(model), values)
    copies = {name: place for place, name in anatomy.copies(model).items()}
    state = model.policy.state_dict()
    for name in first:
        for place in (name, copies[name]):
            assert bool((state[place][~first[name]] == (0.25 if name in values else 0.0)).all())
            assert not bool((state[place][first[name]] == 0.25).any())


def test_masks_and_values_that_do_not_fit_are_refused_and_change_nothing() -> None:
    model = ppo(0)
    mask = sparse_mask(model)
    held = rt.hold(model, mask)
    before = weights(model)
    fewer = rt.Mask({name: mask[name] for name in list(mask)[:-1]})
    with pytest.raises(ValueError, match=r"only the held mask covers 'value_net.weight'; .* same layers"):
        held.change(fewer)
    with pytest.raises(ValueError, match=r"only the other mask covers 'more'"):
        held.change(rt.Mask({**mask, "more": torch.ones(2, dtype=torch.bool)}))
    with pytest.raises(ValueError, match=r"'value_net.weight' has shape \(1, 9\) in the other mask, \(1, 8\) in the"):
        held.change(rt.Mask({**mask, "value_net.weight": torch.ones(1, 9, dtype=torch.bool)}))
    with pytest.raises(ValueError, match=r"the values for 'value_net.weight', of shape \(8,\), fit no layer"):
        held.change(mask, {"value_net.weight": torch.ones(8)})
    with pytest.raises(ValueError, match=r"the values for 'value_net.bias'"):
        held.change(mask, {"value_net.bias": torch.ones(1)})
    assert held.mask == mask
    assert differing(before, weights(model)) == []
    held.remove()
    with pytest.raises(RuntimeError, match="this hold has ended; hold a mask again"):
        held.change(mask)


@pytest.mark.parametrize("end", [Hold.remove, lambda held: rt.hold(held._agent(), rt.Mask.dense(held._agent()))])
def test_weights_of_a_hold_that_ended_start_with_fresh_moments(end: Callable[[Hold], object]) -> None:
    """TensorFlow's RMSprop begins with ones: with a zero its first step would be hundreds of times too long."""
    model = a2c(0, kwargs=TF)
    mask = sparse_mask(model)
    held = rt.hold(model, mask)
    model.learn(16)
    end(held)
    found = dict(moments(model))
    assert all(bool((found[name][~mask[name]] == 1).all()) for name in mask)


def test_what_comes_starts_with_fresh_moments_of_tensorflows_rmsprop() -> None:
    model = a2c(0, kwargs=TF)
    first, second = sparse_mask(model, 0), sparse_mask(model, 1)
    held = rt.hold(model, first)
    model.learn(16)
    held.change(second)
    for name, moment in moments(model):
        if name in second:
            assert bool((moment[second[name] & ~first[name]] == 1).all())
            assert not moment[~second[name]].any()


@pytest.mark.parametrize("make", [ppo, a2c])
def test_a_hold_may_end_or_begin_in_the_middle_of_learn(make: Make) -> None:
    model = make(0)
    mask = sparse_mask(model)
    held = rt.hold(model, mask)
    model.learn(64, callback=ChangeAt(20, lambda _: held.remove()))
    assert held_mask(model) is None
    assert all(weights(model)[name][~mask[name]].any() for name in mask)
    model.learn(64, callback=ChangeAt(20, lambda _: rt.hold(model, mask)))
    assert held_mask(model) == mask
    check_zeros(model)


# The dense gradient.


def used_gradients(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """What each optimizer finds in `.grad` when it makes a step, the last time it does."""
    used: dict[str, torch.Tensor] = {}
    names = {id(p): name for name, p in model.policy.named_parameters()}

    def before_step(optimizer: Any, *_: Any) -> None:
        for group in optimizer.param_groups:
            used.update(
                {names[id(p)]: p.grad.clone() for p in group["params"] if id(p) in names and p.grad is not None}
            )

    for optimizer in anatomy.optimizers(model).values():
        optimizer.register_step_pre_hook(before_step)
    return used


@pytest.mark.parametrize("name", ["ppo", "a2c", "dqn", "sac", "td3", "sac_images_shared", "recurrent_ppo"])
def test_the_dense_gradient_is_what_an_optimizer_would_use_without_the_mask(name: str) -> None:
    """Of kept weights it is the gradient used, but for norm clipping; under a full mask it is that of all weights."""
    case = BY_NAME[name]
    for dense in (False, True):
        model = case.make(0)
        if hasattr(model, "max_grad_norm"):
            model.max_grad_norm = 1e9
        mask = rt.Mask.dense(model) if dense else sparse_mask(model)
        held, used = rt.hold(model, mask), used_gradients(model)
        held.watch()
        model.learn(case.total)
        if name == "dqn":  # SB3 clips at 10, which its gradients can exceed.
            norm = sum(g.square().sum() for g in held.gradient.values()) ** 0.5
            assert float(norm) < 10
        for layer, gradient in held.gradient.items():
            assert torch.equal(gradient * mask[layer], used[layer])
            # An image's first unit may be dead.
            assert dense or gradient[~mask[layer]].any() or "cnn" in layer or "linear" in layer


@agents
def test_plain_and_in_a_cohort_the_dense_gradient_is_the_same(make: Make) -> None:
    class Look(BaseCallback):
        def _on_training_start(self) -> None:
            hold_in(self.model).watch()

        def _on_step(self) -> bool:
            return True

    for one, other in both_ways(lambda: [level(make, seed, Look) for seed in range(4)]):
        mine, sb3s = hold_in(one.model).gradient, hold_in(other.model).gradient
        assert any(gradient[~one.mask[name]].any() for name, gradient in mine.items())
        torch.testing.assert_close(mine, sb3s, atol=1e-5, rtol=1e-4)
        assert_same_weights(one, other)


def test_a_gradient_nobody_watched_is_a_clear_error() -> None:
    model = ppo(0)
    held = rt.hold(model, sparse_mask(model))
    with pytest.raises(RuntimeError, match=r"call `watch\(\)` before training"):
        _ = held.gradient
    held.watch()
    with pytest.raises(RuntimeError, match="no optimizer has stepped it since"):
        _ = held.gradient
    model.learn(16)
    held.gradient["value_net.weight"].fill_(7)
    assert not bool((held.gradient["value_net.weight"] == 7).any())
    held.unwatch()
    with pytest.raises(RuntimeError, match="nobody watches"):
        _ = held.gradient
    trpo = BY_NAME["trpo"].make(0)
    held = rt.hold(trpo, sparse_mask(trpo))
    held.watch()
    trpo.learn(32)
    with pytest.raises(RuntimeError, match=r"no gradient of 'mlp_extractor.policy_net.0.weight' yet"):
        _ = held.gradient


# In a cohort.


def test_a_member_whose_mask_moves_does_not_change_one_bit_of_its_neighbours() -> None:
    def runs(callback: Callable[[], BaseCallback] | None) -> list[TrainingRun]:
        return [level(ppo, seed, callback if seed == 1 else None) for seed in range(3)]

    moved, still = runs(Rewire), runs(None)
    for every in (moved, still):
        rt.Cohorts().start()(every)
    assert moved[1].mask != still[1].mask
    for one, other in list(zip(moved, still, strict=True))[::2]:
        assert differing(weights(one.model), weights(other.model)) == []


@pytest.mark.parametrize("held", [False, True])
@agents
def test_holds_that_begin_and_end_in_mid_run_do_so_in_a_cohort_too(make: Make, held: bool) -> None:
    """A member is dense until it is held, then dense again; or it is held, then by another hold."""

    class Switch(BaseCallback):
        def _on_rollout_start(self) -> None:
            if self.num_timesteps == 32:
                rt.hold(self.model, sparse_mask(self.model, 7))
            if self.num_timesteps == 64 and not held:
                hold_in(self.model).remove()

        def _on_step(self) -> bool:
            if held_mask(self.model) is not None:
                check_zeros(self.model)
            return True

    for one, other in both_ways(lambda: [level(make, seed, Switch, held=held) for seed in range(2)]):
        assert_same_weights(one, other)
        assert one.mask == other.mask == (sparse_mask(one.model, 7) if held else rt.Mask.dense(one.model))


@agents
def test_a_change_in_the_middle_of_a_rollout_acts_at_once_in_a_cohort_too(make: Make) -> None:
    def change(model: BaseAlgorithm) -> None:
        values = {"action_net.weight": torch.full(hold_in(model).mask["action_net.weight"].shape, 0.5)}
        hold_in(model).change(sparse_mask(model, 7), values)

    for one, other in both_ways(lambda: [level(make, seed, partial(ChangeAt, 39, change)) for seed in range(2)]):
        assert one.mask == other.mask == sparse_mask(one.model, 7)
        assert_same_weights(one, other)


def test_nothing_is_traced_for_a_gradient_that_nobody_watches() -> None:
    (first, second) = (level(ppo, 0), level(ppo, 0, Rewire))
    for run, traced in ((first, False), (second, True)):
        cohort = Cohort(run.model, shape_of(run.model, tuple(run.mask)), 1)
        cohort.train([run])
        assert isinstance(cohort.group, OnPolicyGroup)
        assert [("_watching" in vars(updating)) for updating in cohort.group.learning.updating.values()] == [traced]


def test_a_slot_does_not_keep_the_mask_of_the_level_before() -> None:
    train = rt.Cohorts().start()
    train([level(ppo, 0)])
    again, fresh = level(ppo, 1, held=False), level(ppo, 1, held=False)
    train([again])
    rt.Cohorts().start()([fresh])
    assert differing(weights(again.model), weights(fresh.model)) == []


def test_afterwards_a_hold_has_bits_of_its_own() -> None:
    runs = [level(ppo, seed) for seed in range(2)]
    train = rt.Cohorts().start()
    train(runs)
    other, mask = sparse_mask(runs[0].model, 9), runs[1].mask
    hold_in(runs[0].model).change(other)
    later = [level(ppo, seed, held=False) for seed in range(2)]
    train(later)
    for run, expected in zip(runs, (other, mask), strict=True):
        run.model.learn(32, reset_num_timesteps=False)
        check_zeros(run.model)
        assert held_mask(run.model) == expected


def test_a_mask_over_what_a_cohort_does_not_mask_is_refused() -> None:
    class Everything(BaseCallback):
        def _on_rollout_start(self) -> None:
            names = weights(self.model)
            rt.hold(self.model, rt.Mask({name: torch.ones_like(w, dtype=torch.bool) for name, w in names.items()}))

        def _on_step(self) -> bool:
            return True

    with pytest.raises(ValueError, match=r"covers 'log_std', which this cohort does not mask"):
        rt.Cohorts().start()([level(ppo, 0, Everything, held=False)])
