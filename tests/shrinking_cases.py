"""Agents with units that lost their weights in any way, for `shrink`: equivalent, or refused, every one of them.

`python tests/shrinking_cases.py --cases 1000` draws more of them than the tests do.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import tyro
from agents_matrix import Image, vec
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sb3_contrib import QRDQN, TQC, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

import rl_tickets as rt
from rl_tickets.agents.exact import Exact
from rl_tickets.agents.observations import drawn
from rl_tickets.agents.wiring import wiring


class Own(BaseFeaturesExtractor):
    """A user's own extractor, with a functional activation that no module shows."""

    def __init__(self, space: spaces.Space[Any], features_dim: int = 6) -> None:
        super().__init__(space, features_dim)
        self.first = nn.Linear(int(np.prod(space.shape)), features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.first(observations).tanh()


class Padded(BaseFeaturesExtractor):
    """A user's own extractor, whose second convolution pads."""

    def __init__(self, space: spaces.Space[Any], features_dim: int = 3 * 64) -> None:
        super().__init__(space, features_dim)
        first, second = nn.Conv2d(1, 4, 8, 4), nn.Conv2d(4, 3, 3, padding=1)
        self.convolutions = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.convolutions(observations)


@cache
def environment(name: str) -> VecEnv:
    if name == "image":
        return vec(Image)
    return vec("CartPole-v1" if name == "discrete" else "Pendulum-v1", 2)


def on(kind: str) -> dict[str, Any]:
    return {"n_steps": 8, "device": "cpu", "seed": 0} | ({} if kind == "a2c" else {"batch_size": 8})


OFF: dict[str, Any] = {"buffer_size": 20, "device": "cpu", "seed": 0}
ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.ELU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Softplus)


@dataclass(frozen=True)
class Drawn:
    """One agent and what it loses.

    Args:
        kind: of the agent.
        first, second: widths of two nets, actor's and critic's.
        activation: between their layers.
        extractor: the policy's own, or none.
        shared: whether actor and critic share it.
        sde: whether exploration is state-dependent, where the algorithm has it.
        density: of the random mask.
        units: fraction of units that lose all their inputs, and the same of their outputs.
        biases: fraction of biases that are zero.
        held: whether the mask is held, or the zeros are only there.
        lag: whether target networks have biases of their own.
        seed: of everything random.
    """

    kind: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    activation: type[nn.Module]
    extractor: type[BaseFeaturesExtractor] | None
    shared: bool
    sde: bool
    density: float
    units: float
    biases: float
    held: bool
    lag: bool
    seed: int

    def agent(self) -> BaseAlgorithm:
        model = self._fresh()
        generator = torch.Generator().manual_seed(self.seed)
        bits = {
            name: torch.rand(kept.shape, generator=generator) < self.density
            for name, kept in rt.Mask.dense(model).items()
        }
        found = wiring(model)
        for layer in found.layers:
            lost = torch.rand(len(bits[layer.name]), generator=generator) < self.units
            bits[layer.name][lost] = False
            bits[layer.name][:, torch.rand(layer.inputs, generator=generator) < self.units] = False
            if layer.recurrent:
                bits[layer.recurrent][lost] = False
        with torch.no_grad():
            for name, parameter in model.policy.named_parameters():
                if parameter.ndim == 1 and "log_std" not in name and (self.lag or "target" not in name):
                    noise = torch.randn(parameter.shape, generator=generator)
                    kept = torch.rand(parameter.shape, generator=generator) >= self.biases
                    parameter.copy_(noise * kept)
                    if "bias_hh" in name and self.biases == 1.0:
                        parameter.zero_()
        hold = rt.hold(model, rt.Mask(bits))
        return model if self.held else hold.remove()

    def _fresh(self) -> BaseAlgorithm:
        kwargs: dict[str, Any] = {"activation_fn": self.activation}
        if self.extractor is not None:
            kwargs |= {"features_extractor_class": self.extractor}
        arch = {"pi": list(self.first), "vf": list(self.second), "qf": list(self.second)}
        sde = {"use_sde": True} if self.sde else {}
        match self.kind:
            case "ppo" | "a2c":
                kwargs |= {"net_arch": {k: arch[k] for k in ("pi", "vf")}, "share_features_extractor": self.shared}
                kind = PPO if self.kind == "ppo" else A2C
                return kind("MlpPolicy", environment("continuous"), policy_kwargs=kwargs, **sde, **on(self.kind))
            case "ppo_discrete":
                kwargs |= {"net_arch": {k: arch[k] for k in ("pi", "vf")}, "share_features_extractor": self.shared}
                return PPO("MlpPolicy", environment("discrete"), policy_kwargs=kwargs, **on("ppo"))
            case "ppo_images":
                kwargs |= {"net_arch": {k: arch[k] for k in ("pi", "vf")}, "share_features_extractor": self.shared}
                if self.extractor is None:
                    kwargs |= {"features_extractor_kwargs": {"features_dim": 12}}
                else:
                    kwargs |= {"features_extractor_class": Padded}
                return PPO("CnnPolicy", environment("image"), policy_kwargs=kwargs, **on("ppo"))
            case "recurrent" | "recurrent_shared" | "recurrent_half":
                shared, critic = self.kind.endswith("shared"), self.kind == "recurrent"
                kwargs |= {
                    "net_arch": {k: arch[k] for k in ("pi", "vf")},
                    "lstm_hidden_size": max(self.first, default=4),
                }
                kwargs |= {"shared_lstm": shared, "enable_critic_lstm": critic, "n_lstm_layers": 1 + self.shared}
                return RecurrentPPO("MlpLstmPolicy", environment("discrete"), policy_kwargs=kwargs, **on("ppo"))
            case "dqn" | "qrdqn":
                kwargs |= {"net_arch": list(self.first)}
                kind = DQN if self.kind == "dqn" else QRDQN
                return kind("MlpPolicy", environment("discrete"), policy_kwargs=kwargs, **OFF)
            case _:
                kind = {"sac": SAC, "td3": TD3, "tqc": TQC, "crossq": CrossQ}[self.kind]
                kwargs |= {"net_arch": {k: arch[k] for k in ("pi", "qf")}}
                sde = sde if self.kind in ("sac", "tqc") else {}
                return kind("MlpPolicy", environment("continuous"), policy_kwargs=kwargs, **sde, **OFF)


KINDS = ("ppo", "a2c", "ppo_discrete", "ppo_images", "recurrent", "recurrent_shared", "recurrent_half", "dqn", "qrdqn")
KINDS += ("sac", "td3", "tqc", "crossq")
arch = st.lists(st.integers(1, 12), max_size=3).map(tuple)
share = st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0])
cases = st.builds(
    Drawn,
    kind=st.sampled_from(KINDS),
    first=arch,
    second=arch,
    activation=st.sampled_from(ACTIVATIONS),
    extractor=st.sampled_from([None, None, Own]),
    shared=st.booleans(),
    sde=st.booleans(),
    density=st.sampled_from([0.05, 0.2, 0.5, 0.9]),
    units=share,
    biases=share,
    held=st.booleans(),
    lag=st.booleans(),
    seed=st.integers(0, 2**31),
)


def small_differences(old: BaseAlgorithm, new: BaseAlgorithm) -> None:
    """What `shrink` promises, looked at once more, on other states and by other seeds."""
    states = drawn(old, 400, seed=987_654_321)
    heads = [layer.module for layer in wiring(old).layers if not wiring(old).out_of(layer.name)]
    ours, theirs = (Exact(model).hear(heads, states).outputs for model in (old, new))
    for head in heads:
        one, other = torch.cat(ours[head]), torch.cat(theirs[head])
        assert (one - other).abs().max() <= 1e-5 * max(1.0, float(one.abs().max())), head


def weights_of(model: BaseAlgorithm) -> int:
    return sum(p.numel() for p in model.policy.parameters())


def examine(case: Drawn, states: int = 400) -> str:
    """`refused`, `shrunk` or `same`, if the smaller agent is the same and no larger; an AssertionError otherwise."""
    model = case.agent()
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    try:
        new = rt.shrink(model, states=states)
    except rt.WiringError:
        return "refused"
    small_differences(model, new)
    assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())
    assert weights_of(new) <= weights_of(model)
    assert (rt.hold_of(new) is None) == (not case.held)
    again = rt.shrink(new, states=states)
    assert weights_of(again) == weights_of(new), "nothing is left to take away"
    return "shrunk" if weights_of(new) < weights_of(model) else "same"


def fuzz(count: int, states: int) -> Callable[[], Counter[str]]:
    """So many cases, the same ones every time."""

    def run() -> Counter[str]:
        found: Counter[str] = Counter()

        @settings(
            max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(cases)
        def each(case: Drawn) -> None:
            said = examine(case, states)
            found[said] += 1
            found[f"{case.kind}: {said}"] += 1

        each()
        return found

    return run


def main(cases: int = 1_000, states: int = 10_000) -> None:
    """Prints how many agents were shrunk, had nothing to lose, or were refused.

    Args:
        cases: how many agents.
        states: on which each must act alike.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for what, count in sorted(fuzz(cases, states)().items()):
        print(f"{what:30} {count:6}")


if __name__ == "__main__":
    tyro.cli(main)
