"""Layers that the default leaves dense: weights computed from others, which is said, and embeddings, as is usual."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, cartpole, sparse_mask
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn.utils import parametrizations

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.computed import DenseLayerWarning, computed_weights

NEW_STYLE = [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
OLD_STYLE = [nn.utils.weight_norm, nn.utils.spectral_norm]
every_style = pytest.mark.parametrize(
    "norm", [*NEW_STYLE, *OLD_STYLE], ids=lambda norm: f"{norm.__module__.rpartition('.')[2]}.{norm.__name__}"
)
old_style_is_old = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


class Normed(BaseFeaturesExtractor):
    """Layers of a user's own, one of them computed."""

    def __init__(self, space: Any, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__(space, 6)
        self.layers = nn.Sequential(norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 6))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


def agent(extractor: type[BaseFeaturesExtractor], seed: int = 0, **kwargs: Any) -> PPO:
    policy = {
        "net_arch": [8],
        "features_extractor_class": extractor,
        "features_extractor_kwargs": kwargs,
    }
    return PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, n_epochs=1, seed=seed, policy_kwargs=policy)


@old_style_is_old
@every_style
def test_a_warning_names_the_layer_and_counts_it(norm: Callable[[nn.Module], nn.Module]) -> None:
    model = agent(Normed, norm=norm)
    found = computed_weights(model.policy)
    assert set(found) >= {"features_extractor.layers.0.weight"}
    parameters = sum(p.numel() for p in found["features_extractor.layers.0.weight"])
    total = sum(p.numel() for p in model.policy.parameters())
    said = rf"features_extractor\.layers\.0\.weight are computed .* stay dense: {parameters} of {total} parameters"
    with pytest.warns(DenseLayerWarning, match=said):
        mask = rt.Mask.dense(model)
    made_of = {id(p) for p in found["features_extractor.layers.0.weight"]}
    named = dict(model.policy.named_parameters())
    assert not made_of & {id(named[name]) for name in mask}
    assert "features_extractor.layers.2.weight" in mask


@pytest.mark.parametrize("prunable", [lambda name, p: "layers.2" in name, lambda name, p: p.ndim == 2])
def test_who_chooses_hears_nothing(prunable: Callable[[str, nn.Parameter], bool]) -> None:
    assert rt.Mask.dense(agent(Normed, norm=parametrizations.spectral_norm), prunable).total


def test_pruning_through_a_parametrization_is_there_for_who_asks() -> None:
    model = agent(Normed, norm=parametrizations.spectral_norm)
    original = "features_extractor.layers.0.parametrizations.weight.original"
    dense = rt.Mask.dense(model, lambda name, p: name == original or name.endswith("net.weight"))
    mask = rt.Mask({name: torch.rand(kept.shape) < 0.7 for name, kept in dense.items()})
    rt.hold(model, mask)
    model.learn(32)
    weight = model.policy.features_extractor.layers[0].weight  # type: ignore[union-attr, index]
    assert torch.equal(weight != 0, mask[original]), "the computed weight is zero where the mask says so"


def test_a_search_says_it_once_not_at_every_level() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for level in rt.find_tickets(
            lambda seed: agent(Normed, seed, norm=parametrizations.weight_norm),
            total_timesteps=32,
            densities=(1.0, 0.5, 0.3),
        ):
            assert level.trained.overall_density == level.ticket.overall_density
    assert [each.category for each in said].count(DenseLayerWarning) == 1


def test_a_policy_of_nothing_else_is_refused() -> None:
    model = PPO("MlpPolicy", cartpole(), policy_kwargs={"net_arch": []}, device="cpu")
    for head in (model.policy.action_net, model.policy.value_net):
        parametrizations.weight_norm(head)
    model.policy.optimizer = torch.optim.Adam(model.policy.parameters())
    with pytest.raises(ValueError, match=r"PPO policy has no weights that are pruned by default .* `prunable`"):
        rt.Mask.dense(model)


class Looked(BaseFeaturesExtractor):
    """Which side the cart is on, looked up, beside the observation."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, 7)
        self.sides = nn.Embedding(2, 3)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return torch.cat([observations, self.sides((observations[:, 0] > 0).long())], dim=1)


def test_embeddings_stay_dense_unless_one_asks() -> None:
    model = agent(Looked)
    assert "features_extractor.sides.weight" not in rt.Mask.dense(model)
    assert "features_extractor.sides.weight" in rt.Mask.dense(model, lambda name, p: p.ndim == 2)


# --- density over everything -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_overall_density_counts_all_that_is_not_zero(case: Case) -> None:
    model = case.make(0)
    mask = sparse_mask(model)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.fill_(1.0)
    rt.hold(model, mask)
    targets = tuple(prefix for prefix, _ in case.twins)
    ours = [p for name, p in model.policy.named_parameters() if not name.startswith(targets or ("-",))]
    assert anatomy.parameter_count(model) == sum(p.numel() for p in ours)
    kept = sum(int(p.count_nonzero()) for p in ours)
    assert mask.density_among(anatomy.parameter_count(model)) == kept / sum(p.numel() for p in ours)


def test_tickets_and_what_they_come_from_know_it() -> None:
    model = BY_NAME["dqn"].make(0)
    assert isinstance(model, DQN)
    ours = sum(p.numel() for p in model.q_net.parameters())
    levels = list(rt.find_tickets(BY_NAME["dqn"].make, total_timesteps=96, densities=(1.0, 0.5)))
    for level in levels:
        assert level.ticket.provenance["parameters"] == ours
        pruned = level.ticket.mask.total - level.ticket.mask.kept
        assert level.ticket.overall_density == level.trained.overall_density == (ours - pruned) / ours
    assert levels[0].ticket.overall_density == 1
    assert rt.Ticket(levels[1].ticket.mask, levels[1].ticket.weights).overall_density is None
