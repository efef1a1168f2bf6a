"""Units that lost all their inputs in batch renormalisation: no NaN, and no other bit changed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import OFF, differing, pendulum, small, tensors
from gymnasium import spaces
from sb3_contrib import CrossQ
from sb3_contrib.common.torch_layers import BatchRenorm1d
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

import rl_tickets as rt
from rl_tickets.agents.constant_units import renorms, silence_constant_units


def crossq(seed: int = 0, env: Any = None, **changes: Any) -> CrossQ:
    settings = {**OFF, "batch_size": 25, **changes}
    kwargs = small(renorm_warmup_steps=5, batch_norm_momentum=0.1)
    return CrossQ("MlpPolicy", env or pendulum(), seed=seed, device="cpu", policy_kwargs=kwargs, **settings)


def with_dead_neurons(model: BaseAlgorithm, density: float) -> rt.Mask:
    """A random mask under which one neuron of every hidden layer has lost all its inputs."""
    generator = torch.Generator().manual_seed(0)
    bits = {name: torch.rand(kept.shape, generator=generator) < density for name, kept in rt.Mask.dense(model).items()}
    for kept in bits.values():
        if len(kept) == 8:
            kept[3] = False
    return rt.Mask(bits)


def test_crossq_trains_past_its_warm_up_with_dead_neurons() -> None:
    model = crossq()
    mask = with_dead_neurons(model, 0.3)
    rt.hold(model, mask)
    model.learn(50)
    assert all(int(renorm.steps) > 5 for renorm in renorms(model))  # type: ignore[arg-type]
    before = tensors(model)
    model.learn(50, reset_num_timesteps=False)
    after = tensors(model)
    assert [name for name, value in after.items() if not torch.isfinite(value).all()] == []
    still = [name for name in mask if mask[name].any() and torch.equal(before[name], after[name])]
    assert still == [], "kept weights no longer move"


class Echo(gym.Env[np.ndarray, np.ndarray]):
    """Pays for doing what the observation says."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._asked = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self._asked, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._asked, -float(np.abs(action - self._asked).sum()), True, False, {}


def test_and_it_still_learns() -> None:
    model = crossq(env=Echo(), learning_rate=3e-2, learning_starts=50, batch_size=64, policy_delay=1)
    rt.hold(model, with_dead_neurons(model, 0.5))
    before = rt.evaluate(model, Echo, episodes=64).mean()
    model.learn(300)
    assert rt.evaluate(model, Echo, episodes=64).mean() > before / 2


def test_nothing_else_changes_by_a_bit() -> None:
    ends = []
    for masked in (False, True):
        model = crossq()
        if masked:
            rt.hold(model, rt.Mask.dense(model))
        ends.append(tensors(model.learn(60)))
    assert differing(*ends) == []


def test_only_agents_with_such_a_layer_have_the_hook() -> None:
    model = crossq()
    hold = rt.hold(model, rt.Mask.dense(model))
    assert all(len(renorm._forward_pre_hooks) == 1 for renorm in renorms(model))
    assert sum(bool(module._forward_pre_hooks) for module in model.policy.modules()) == len(list(renorms(model)))
    hold.remove()
    assert not any(module._forward_pre_hooks for module in model.policy.modules())


def past_warm_up() -> BatchRenorm1d:
    renorm = BatchRenorm1d(2, warmup_steps=-1)
    renorm.ra_mean += 0.5
    return renorm


def gradients(hooked: bool, units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the units, through the layer and past it."""
    renorm, units = past_warm_up(), units.clone().requires_grad_()
    if hooked:
        silence_constant_units(renorm)
    elsewhere = units * 1.0
    (nn.functional.mse_loss(renorm(elsewhere), torch.ones_like(units)) + elsewhere.square().sum()).backward()
    assert units.grad is not None
    return units.grad, 2 * units.detach()


def test_a_constant_unit_passes_no_gradient_back_and_others_theirs() -> None:
    units = torch.tensor([[1.0, 2.0], [3.0, 2.0], [4.0, 2.0]])
    (plain, _), (silent, past) = gradients(False, units), gradients(True, units)
    assert plain[:, 1].isnan().all(), "sb3-contrib was mended: the hook is not needed any more"
    assert torch.equal(silent[:, 0], plain[:, 0])
    assert torch.equal(silent[:, 1], past[:, 1]), "what others make of the unit is theirs"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_diverges_is_not_made_up_for(value: float) -> None:
    units = torch.tensor([[1.0, value], [3.0, 2.0], [4.0, 2.0]])
    silent, _ = gradients(True, units)
    assert not silent[:, 1].isfinite().all()
