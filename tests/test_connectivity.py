"""Linear mode connectivity: known barriers, known orders of units, and copies that differ in their draws alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import CrossQ, MaskablePPO, RecurrentPPO
from sb3_contrib.common.envs import InvalidActionEnvDiscrete
from scipy import stats
from scipy.special import softmax
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from tiny import PPO_EXPERIMENT, make_dqn, make_env, make_ppo

import rl_tickets as rt
from rl_tickets.agents.distributions import action_distributions, divergence
from rl_tickets.agents.generators import derived_seed
from rl_tickets.agents.replicas import replica
from rl_tickets.agents.state import TrainingState
from rl_tickets.analysis.connectivity import _from_ends
from rl_tickets.analysis.lines import between, grid
from rl_tickets.analysis.stability import judged_together
from rl_tickets.evaluation.visiting import visited
from rl_tickets.lab.store import Store
from rl_tickets.report.barriers import BarrierRow, barrier_plot, barrier_table, read_barriers, write_barriers
from rl_tickets.report.rows import Run


@pytest.fixture(scope="module")
def trained() -> PPO:
    """An agent that balances the pole for a while."""
    return make_cartpole(0).learn(12_000)


def make_cartpole(seed: int) -> PPO:
    env = make_vec_env(make_env, n_envs=8, seed=seed)
    kwargs: Any = {"n_steps": 32, "batch_size": 256, "n_epochs": 10, "gamma": 0.98, "learning_rate": 1e-3}
    return PPO("MlpPolicy", env, policy_kwargs={"net_arch": [32, 32]}, seed=seed, device="cpu", **kwargs)


def shuffled(model: BaseAlgorithm, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights that compute the same with the units of every hidden layer in another order."""
    units, rng = rt.UnitOrder(model), np.random.default_rng(seed)
    weights: dict[str, torch.Tensor] = {n: t.clone() for n, t in model.policy.state_dict().items()}
    for layer, count in units.layers.items():
        weights = units.permuted(weights, layer, rng.permutation(count).tolist())
    return weights


def with_weights(make: Any, weights: Any, seed: int = 9) -> Any:
    model = make(seed)
    model.policy.load_state_dict(weights)
    return model


class Far(gym.Env[np.ndarray, int]):
    """Pays 1 for saying whether a number is far from zero; half of the episodes ask a far one."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.far = bool((seed or 0) % 2)
        return np.array([0.8 if self.far else 0.2], dtype=np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, dtype=np.float32), float(bool(action) == self.far), True, False, {}


def absolute(order: tuple[int, int] = (0, 1)) -> PPO:
    """Says far where |x| > 0.5: two units that hear x and -x, and are heard alike."""
    net: Any = {"net_arch": {"pi": [2], "vf": [2]}, "activation_fn": torch.nn.ReLU}
    model = PPO("MlpPolicy", make_vec_env(Far), policy_kwargs=net, seed=0, device="cpu")
    with torch.no_grad():
        policy: Any = model.policy
        policy.mlp_extractor.policy_net[0].weight.copy_(torch.tensor([[1.0], [-1.0]])[list(order)])
        policy.action_net.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        policy.action_net.bias.copy_(torch.tensor([0.5, 0.0]))
    return model


def test_the_barrier_of_two_units_that_changed_places_is_the_one_computed_by_hand() -> None:
    """On the line the units hear (1 - 2 alpha) x and its opposite, so that |1 - 2 alpha| |x| is held against 0.5."""
    line = partial(rt.connectivity, absolute(), absolute((1, 0)), Far, alphas=21, episodes=10, states=64)
    crossed = line()
    right = np.abs(1 - 2 * crossed.alphas) * 0.8 > 0.5
    np.testing.assert_array_equal(crossed.returns.mean(axis=1), np.where(right, 1.0, 0.5))
    assert crossed.barrier == 0.5
    middle, end = np.array([0.5, 0.0]), np.array([0.5, 0.8])
    near = np.array([0.5, 0.2]), middle
    kl = [stats.entropy(softmax(p), softmax(q)) for p, q in ((end, middle), near)]
    # Each agent meets 64 / 2 observations, of episodes seeded in turn: as many far ones as near ones.
    assert crossed.divergences[10] == pytest.approx(np.mean(kl), rel=1e-4)
    assert crossed.policy_barrier == pytest.approx(np.mean(kl), rel=1e-4)
    assert crossed.disagreements[10] == crossed.action_barrier == 0.5, "half of the states, the far ones"
    matched = line(align=rt.match_units)
    assert matched.action_barrier == 0
    assert (matched.returns == 1).all()
    assert matched.barrier == 0
    assert matched.policy_barrier == pytest.approx(0, abs=1e-9)


def test_permuted_units_of_a_trained_agent_make_a_barrier_that_matching_takes_away(trained: PPO) -> None:
    other = with_weights(make_cartpole, shuffled(trained))
    line = partial(rt.connectivity, trained, other, make_env, alphas=7, episodes=8, states=200)
    crossed, level = line(), line(align=rt.match_units)
    assert crossed.returns[0].mean() > 60, "an agent that has learned something can lose it"
    assert crossed.barrier > 0
    assert crossed.policy_barrier > 0.01
    assert level.barrier == 0
    assert level.policy_barrier == pytest.approx(0, abs=1e-9)
    assert level.returns.shape == (7, 8)
    np.testing.assert_array_equal(crossed.returns[0], crossed.returns[-1])
    np.testing.assert_allclose(crossed.divergences[[0, -1]], 0, atol=1e-6)


def test_a_line_leaves_both_agents_as_they_were(trained: PPO) -> None:
    other = with_weights(make_cartpole, shuffled(trained))
    before = [{n: t.clone() for n, t in model.policy.state_dict().items()} for model in (trained, other)]
    drawn = torch.get_rng_state()
    rt.connectivity(trained, other, make_env, alphas=3, episodes=1, states=10)
    for weights, model in zip(before, (trained, other), strict=True):
        assert all(torch.equal(weights[name], tensor) for name, tensor in model.policy.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


AGENTS: dict[str, Any] = {
    "ppo": make_cartpole,
    "shared": lambda seed: PPO(
        "CnnPolicy",
        make_vec_env(lambda: Picture(), n_envs=1, seed=seed),
        n_steps=16,
        batch_size=16,
        policy_kwargs={"net_arch": [8]},
        seed=seed,
        device="cpu",
    ),
    "dqn": make_dqn,
    "sac": lambda seed: SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 16]}, seed=seed, device="cpu"),
    "td3": lambda seed: TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 16]}, seed=seed, device="cpu"),
}


class Picture(gym.Env[np.ndarray, int]):
    """An image that SB3's convolutions take."""

    observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.integers(0, 255, (1, 36, 36)).astype(np.uint8), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.np_random.integers(0, 255, (1, 36, 36)).astype(np.uint8), 0.0, False, True, {}


@pytest.mark.parametrize("name", list(AGENTS))
def test_another_order_of_units_is_the_same_function_and_is_found_again(name: str) -> None:
    model = AGENTS[name](0)
    with torch.no_grad():  # Biases begin at zero, and zeros have no order.
        for parameter in model.policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    turned = with_weights(AGENTS[name], shuffled(model))
    space = model.observation_space
    space.seed(0)
    seen = np.stack([space.sample() for _ in range(20)])
    tensors = model.policy.obs_to_tensor(seen)[0]
    before, after = (_outputs(each, tensors) for each in (model, turned))
    assert len(before) == len(after) > 0
    for one, two in zip(before, after, strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    assert any(not torch.equal(w, turned.policy.state_dict()[n]) for n, w in model.policy.state_dict().items())
    matched = rt.match_units(model, model.policy.state_dict(), turned.policy.state_dict())
    trained = rt.Mask.dense(model)
    assert all(torch.equal(matched[name], model.policy.state_dict()[name]) for name in trained)


def _outputs(model: Any, tensors: torch.Tensor) -> list[torch.Tensor]:
    """Of every network of an agent: of its actor and of its critics."""
    policy = model.policy
    policy.set_training_mode(False)
    with torch.no_grad():
        if hasattr(policy, "q_net"):
            return [policy.q_net(tensors), policy.q_net_target(tensors) * 0]
        if hasattr(policy, "critic"):
            actions = torch.zeros(len(tensors), 1)
            return [
                policy.actor(tensors, **({"deterministic": True} if isinstance(model, SAC) else {})),
                *policy.critic(tensors, actions),
            ]
        return [policy.get_distribution(tensors).distribution.logits, policy.predict_values(tensors)]


def test_a_match_is_never_less_alike_than_the_order_it_was_given() -> None:
    one, other = make_cartpole(0), make_cartpole(1)
    ours, theirs = one.policy.state_dict(), other.policy.state_dict()
    matched = rt.match_units(one, ours, theirs)
    alike = [sum(float((ours[n] * w[n]).sum()) for n in ours) for w in (theirs, matched)]
    assert alike[1] > alike[0]
    names = rt.Mask.dense(one)
    assert all(torch.equal(theirs[n].flatten().sort().values, matched[n].flatten().sort().values) for n in names)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu"), "an LSTM's are not understood"),
        (lambda: CrossQ("MlpPolicy", "Pendulum-v1", device="cpu"), "has values of its own for each of them"),
        (lambda: PPO("MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu"), "gSDE cannot be matched"),
    ],
)
def test_units_that_are_not_understood_are_not_matched(make: Any, sentence: str) -> None:
    with pytest.raises(rt.WiringError, match=sentence):
        rt.UnitOrder(make())


def test_an_order_has_each_unit_once() -> None:
    model = make_cartpole(0)
    with pytest.raises(ValueError, match="has each of its 32 units once"):
        rt.UnitOrder(model).permuted(model.policy.state_dict(), "mlp_extractor.policy_net.0.weight", [0] * 32)


def test_a_barrier_is_what_lies_below_the_line_between_the_ends() -> None:
    alphas = np.array([0.0, 0.25, 0.5, 1.0])
    assert rt.barrier(alphas, np.array([8.0, 6.0, 1.0, 4.0])) == 5.0
    assert rt.barrier(alphas, np.array([8.0, 9.0, 9.0, 4.0])) == 0.0
    assert rt.barrier(alphas, 8 - 4 * alphas) == 0.0, "a worse end is no barrier"


def test_between_takes_all_weights_and_pools_statistics() -> None:
    one, other = (make_ppo(seed).learn(64) for seed in (0, 1))
    ours, theirs = (TrainingState.capture(model) for model in (one, other))
    for alpha in (0.0, 0.3, 1.0):
        found = between(ours, theirs, alpha)
        for name, weight in found.policy.items():
            assert torch.allclose(weight, (1 - alpha) * ours.policy[name] + alpha * theirs.policy[name])
        assert found.optimizers is None
    assert all(torch.equal(between(ours, theirs, 1.0).policy[name], theirs.policy[name]) for name in theirs.policy)
    assert all(torch.equal(between(ours, theirs, 0.0).policy[name], ours.policy[name]) for name in ours.policy)


def test_pooled_statistics_are_those_of_the_observations_together() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.normal(mean, spread, (size, 4)) for mean, spread, size in ((0.0, 1.0, 300), (3.0, 2.0, 100))]
    states = []
    for seed, values in enumerate(sets):
        state = TrainingState.capture(make_ppo(seed))
        moments = {"mean": values.mean(0), "var": values.var(0), "count": float(len(values))}
        states.append(replace(state, normalizer={**(state.normalizer or {}), "observations": {"": moments}}))
    found = between(*states, alpha=0.25).normalizer
    assert found is not None
    together = np.concatenate(sets)
    np.testing.assert_allclose(found["observations"][""]["mean"], together.mean(0))
    np.testing.assert_allclose(found["observations"][""]["var"], together.var(0))


def test_a_line_with_vecnormalize_ends_where_its_agents_are() -> None:
    one, other = (make_ppo(seed).learn(64) for seed in (0, 1))
    line = rt.connectivity(one, other, make_env, alphas=3, episodes=4, states=20)
    for place, model in ((0, one), (-1, other)):
        np.testing.assert_array_equal(line.returns[place], rt.evaluate(model, make_env, episodes=4))
    normalize = one.get_vec_normalize_env()
    assert isinstance(normalize, VecNormalize)


def test_divergences_are_those_of_their_formulas() -> None:
    sac, other = (AGENTS["sac"](seed) for seed in (0, 1))
    seen = visited(sac, lambda: gym.make("Pendulum-v1"), steps=6)
    assert seen.shape == (6, 3)
    found = divergence(action_distributions(sac, seen), action_distributions(other, seen))
    params = [model.actor.get_action_dist_params(torch.as_tensor(seen))[:2] for model in (sac, other)]
    (m, s), (n, t) = [(mean.detach().numpy().ravel(), np.exp(std.detach().numpy().ravel())) for mean, std in params]
    np.testing.assert_allclose(found, np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5, rtol=1e-4)
    ppo, two = (make_cartpole(seed) for seed in (0, 1))
    with torch.no_grad():
        for model in (ppo, two):
            model.policy.action_net.weight.mul_(100)  # SB3 draws heads so small that all policies are alike.
    seen = visited(ppo, make_env, steps=5)
    p, q = (each[0].probs.numpy() for each in (action_distributions(model, seen) for model in (ppo, two)))
    kl = divergence(action_distributions(ppo, seen), action_distributions(two, seen))
    np.testing.assert_allclose(kl, [stats.entropy(a, b) for a, b in zip(p, q, strict=True)], rtol=1e-3, atol=1e-6)


def test_the_floor_is_the_barrier_of_one_policy_on_other_episodes(trained: PPO) -> None:
    floor = rt.noise_floor(trained, make_env, alphas=4, episodes=3, seed=50)
    means = [rt.evaluate(trained, make_env, episodes=3, seed=50 + 3 * at).mean() for at in range(4)]
    assert floor == rt.barrier(grid(4), np.array(means))
    assert rt.noise_floor(trained, lambda: Still(), alphas=3, episodes=2) == 0, "no noise, no floor"


class Still(gym.Env[np.ndarray, int]):
    """The same return whatever is done."""

    observation_space = gym.make("CartPole-v1").observation_space
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(4, dtype=np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(4, dtype=np.float32), 3.0, True, False, {}


def test_masks_of_actions_may_come_in_a_list() -> None:
    make_masked = partial(InvalidActionEnvDiscrete, dim=5, n_invalid_actions=2)
    model = MaskablePPO("MlpPolicy", make_masked(), n_steps=16, batch_size=16, seed=0, device="cpu")
    assert visited(model, make_masked, steps=6).shape[0] == 6


def test_at_an_end_it_does_not_count_how_far_the_other_is() -> None:
    apart = _from_ends(np.array([0.0, 0.5, 1.0]), [1.0, 2.0, np.inf], lambda one, other: abs(other - one))
    assert apart[0] == 0
    assert apart[1] == np.inf


def test_stability_is_a_statement_against_the_floor() -> None:
    rng = np.random.default_rng(0)
    floors = rng.uniform(0, 10, 20)
    assert rt.stability(floors + 40, floors).stable is False
    assert rt.stability(rng.uniform(0, 4, 20), floors).stable is True
    assert rt.stability(np.where(np.arange(20) == 3, 200.0, 0.0), floors).verdict == "undecided"
    assert rt.stability(floors[:4] + 40, floors[:4]).verdict == "too few seeds"
    found = rt.stability(floors + 40, floors)
    assert found.excess.difference == pytest.approx(40)
    assert found.floor == pytest.approx(floors.mean())
    assert rt.stability(np.zeros(8), np.zeros(8), margin=1).stable is True, "no noise, and no barrier"
    assert rt.stability(np.zeros(8), np.zeros(8)).stable is None, "without a margin no excess is below it"


def test_one_margin_makes_agents_with_and_without_noise_comparable() -> None:
    rng = np.random.default_rng(3)
    silent, noisy = np.zeros(20), rng.uniform(0, 30, 20)
    barriers = rng.uniform(1, 3, 20)
    assert rt.stability(silent + barriers, silent).stable is False, "the smallest barrier shows where nothing is noise"
    for floors in (silent, noisy):
        assert rt.stability(floors + barriers, floors, margin=10).stable is True
        assert rt.stability(floors + 40 + barriers, floors, margin=10).stable is False
    with pytest.raises(ValueError, match="the margin must be at least 0"):
        rt.stability(barriers, silent, margin=-1)


def test_stability_errs_rarely() -> None:
    """Barriers that are noise like the floor's are called unstable in at most 5 % of experiments."""
    rng = np.random.default_rng(1)
    drawn = rng.gamma(2.0, 3.0, (2, 1_000, 10))
    unstable = sum(rt.stability(barriers, floors).stable is False for barriers, floors in zip(*drawn, strict=True))
    assert unstable / 1_000 < 0.05


def test_of_many_barriers_that_exceed_by_the_margin_none_is_called_stable() -> None:
    """Judged together (Holm), 20 of them err in at most 5 % of experiments; each alone would in most."""
    rng = np.random.default_rng(4)
    drawn = rng.normal([[[[15.0]]], [[[10.0]]]], 3.0, (2, 100, 20, 10))
    alone, together = 0, 0
    for barriers, floors in zip(*drawn, strict=True):
        family = [rt.stability(*pair, margin=5.0) for pair in zip(barriers, floors, strict=True)]
        alone += any(each.stable is True for each in family)
        together += any(each.stable is True for each in judged_together(family))
    assert together <= 10 < alone


def test_of_many_barriers_that_are_noise_none_is_called_unstable() -> None:
    """Judged together (Holm), 20 of them err in at most 5 % of experiments; each alone would in most."""
    rng = np.random.default_rng(2)
    drawn = rng.normal(10.0, 3.0, (2, 100, 20, 10))
    alone, together = 0, 0
    for barriers, floors in zip(*drawn, strict=True):
        family = [rt.stability(*pair) for pair in zip(barriers, floors, strict=True)]
        alone += any(each.stable is False for each in family)
        together += any(each.stable is False for each in judged_together(family))
    assert together <= 10 < alone
    assert judged_together([]) == []


def rows() -> list[BarrierRow]:
    """Dense copies of step 0 far above the noise, all others at it."""
    rng = np.random.default_rng(0)
    places = [("dense", 1.0, 0), ("dense", 1.0, 2_560), ("imp", 0.25, 0), ("imp", 0.25, 2_560)]
    return [
        BarrierRow(search, density, seed, step, noise + 80 * (search == "dense" and not step), 9.0, 0.5, (500.0, 1 / 3))
        for search, density, step in places
        for seed, noise in enumerate(rng.uniform(0, 8, 6).tolist())
    ]


def test_barriers_are_told_by_search_density_and_step(tmp_path: Path) -> None:
    lines = barrier_table(rows(), 5.0).splitlines()
    assert lines[2].startswith("| dense | 1 | 0 | 6 | 8")
    assert lines[2].endswith("| unstable |")
    assert all(line.endswith("| stable |") for line in lines[3:])
    assert len(lines) == 2 + 4
    figure = barrier_plot(rows(), "Barriers", 5.0)
    dense, imp = figure.axes
    assert [axes.get_title(loc="left") for axes in (dense, imp)] == ["dense", "imp"]
    heights = [line.get_ydata()[0] for line in dense.get_lines() if line.get_marker() == "o"]  # type: ignore[index]
    means = [np.mean([row.barrier for row in rows() if (row.search, row.step) == ("dense", k)]) for k in (0, 2_560)]
    np.testing.assert_allclose(heights, means)
    write_barriers(tmp_path / "barriers.csv", reversed(rows()))
    found = read_barriers(tmp_path / "barriers.csv")
    assert [replace(row, returns=()) for row in found] == [replace(row, returns=()) for row in rows()]
    assert found[0].returns == (500.0, 0.333333)
    assert read_barriers(tmp_path / "gone.csv") == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alphas": 1}, "a line needs at least 3 values of alpha"),
        ({"alphas": (0.0, 1.0)}, "a line needs at least 3 values of alpha"),
        ({"alphas": (0.0, 0.5, 0.9)}, "must increase from 0 to 1"),
        ({"alphas": (0.0, 0.5, 0.5, 1.0)}, "must increase from 0 to 1"),
    ],
)
def test_grids_without_a_place_for_a_barrier_are_refused(settings: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rt.connectivity(make_cartpole(0), make_cartpole(1), make_env, **settings)
    with pytest.raises(ValueError, match=sentence):
        rt.noise_floor(make_cartpole(0), make_env, **settings)


def test_agents_without_a_line_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the two agents have the same weights.*train copies with different draws"):
        rt.connectivity(make_cartpole(0), make_cartpole(0), make_env)
    with pytest.raises(ValueError, match="no line between agents of two architectures"):
        rt.connectivity(make_cartpole(0), make_ppo(0), make_env)
    lost = make_cartpole(1)
    with torch.no_grad():
        lost.policy.action_net.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"'action_net.bias' is not finite"):
        rt.connectivity(make_cartpole(0), lost, make_env)


@pytest.mark.parametrize(
    ("make", "name"), [(make_dqn, "CartPole-v1"), (AGENTS["td3"], "Pendulum-v1"), (make_ppo, "CartPole-v1")]
)
def test_greedy_actions_on_a_line_are_held_against_those_at_its_ends(make: Any, name: str) -> None:
    """Of any agent, those with VecNormalize and those that draw no actions among them."""
    one, other = make(0).learn(64), make(1).learn(64)
    env = partial(gym.make, name)
    line = rt.connectivity(one, other, env, alphas=3, episodes=1, states=20)
    seen = np.concatenate([visited(model, env, steps=10, seed=1_000) for model in (one, other)])
    ends = [greedy(model, seen) for model in (one, other)]
    middle = replica(one, between(*(TrainingState.capture(model) for model in (one, other)), alpha=0.5))
    width = 4.0 if name == "Pendulum-v1" else 1.0  # Torques go from -2 to 2.
    apart = [np.abs(end - greedy(middle, seen)).mean() / width for end in ends]
    np.testing.assert_allclose(line.disagreements, [0, np.mean(apart), 0], atol=1e-6)
    assert np.isnan(line.policy_barrier) == (make is not make_ppo)


def greedy(model: BaseAlgorithm, seen: np.ndarray) -> np.ndarray:
    if isinstance(normalize := model.get_env(), VecNormalize):
        seen = normalize.normalize_obs(seen)
    return model.predict(seen, deterministic=True)[0].astype(float)


EXPERIMENT = replace(
    PPO_EXPERIMENT,
    callback=None,
    total_timesteps=192,
    seeds=1,
    episodes=1,
    keep="all",
    searches={
        "imp": rt.IMP(criterion=rt.lamp),
        "reinit": rt.Control(rt.random_reinit),
        "dense_copies": rt.Instability(at=(0, 64)),
        "imp_copies": rt.Instability(of="imp", at=(0, 64)),
        "reinit_copies": rt.Instability(of="reinit", at=(0,)),
    },
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    rt.run(replace(EXPERIMENT, trainer=rt.Plain()), jobs=1, out=folder)
    return folder


def end(folder: Path, search: str, seed: int, level: int, variant: str = "") -> TrainingState:
    trained = Store(folder / "tiny").trained(Run(search, seed, level, variant))
    assert trained is not None, (search, seed, level, variant)
    return trained.end


def test_copies_begin_alike_end_apart_and_keep_their_mask(out: Path) -> None:
    for search, level, steps in (("dense_copies", 0, (0, 64)), ("imp_copies", 2, (0, 64)), ("reinit_copies", 1, (0,))):
        for step in steps:
            one, other = (end(out, search, 0, level, f"k{step}-{copy}") for copy in "ab")
            assert one.timesteps == other.timesteps == 192
            assert not all(torch.equal(weight, other.policy[name]) for name, weight in one.policy.items())
            if level:
                source = search.removesuffix("_copies").replace("reinit", "imp")
                mask = rt.Ticket.load(out / "tiny" / "tickets" / source / "seed-0" / f"level-0{level}.ticket").mask
                for state in (one, other):
                    assert not any(state.policy[name][~kept].any() for name, kept in mask.items())


def test_a_copy_goes_on_from_the_state_at_its_step(out: Path) -> None:
    """By hand: the state of the dense run at step 64, trained on with the copy's draws."""
    from agents_matrix import train

    from rl_tickets.training.runs import Setting

    setting = Setting(make_ppo, 0, 192, (0, 64, 128))
    _, dense = train(setting, rt.Training(0, keep_at=(0, 64)))
    draws = derived_seed(0, 2)
    _, copy = train(setting, rt.Training(0, "k64-b", start=dense.at(64), draws=draws))
    stored = end(out, "dense_copies", 0, 0, "k64-b")
    assert all(torch.equal(weight, stored.policy[name]) for name, weight in copy.end.policy.items())
    assert all(torch.equal(weight, end(out, "dense", 0, 0).policy[name]) for name, weight in dense.end.policy.items())


def test_all_copies_are_asked_for_at_once() -> None:
    from rl_tickets.search.driving import side_by_side

    asked = []
    plan = rt.Instability(at=(0, 64, 96))
    _, dense = _dense((0, 64, 96))
    setup = rt.Setup(make_ppo, 0, 192, (1.0, 0.5), plans={"dense": rt.IMP()}, outcomes_of=lambda name: [dense])
    asked = next(side_by_side({0: plan.search(setup)}))[0]
    assert tuple(request.name for request in asked) == plan.names(0)
    assert len({request.draws for request in asked}) == 2
    assert [request.begins_at() for request in asked] == [0, 0, 64, 64, 96, 96]


def _dense(steps: tuple[int, ...]) -> tuple[Any, Any]:
    from agents_matrix import train

    from rl_tickets.training.runs import Setting

    request = rt.Training(0, keep_at=steps)
    model, trained = train(Setting(make_ppo, 0, 192), request)
    return model, (request, trained)


def test_the_copies_train_in_cohorts_too(out: Path, tmp_path: Path) -> None:
    """One cohort of all steps and both copies; few gradient steps, so that rounding turns no choice around."""
    searches = {name: EXPERIMENT.searches[name] for name in ("imp", "imp_copies")}
    rt.run(replace(EXPERIMENT, searches=searches, trainer=rt.Cohorts(seeds=2)), jobs=1, out=tmp_path)
    for step in (0, 64):
        for copy in "ab":
            ours, theirs = (end(at, "imp_copies", 0, 1, f"k{step}-{copy}").policy for at in (tmp_path, out))
            assert all(torch.allclose(weight, theirs[name], atol=1e-3) for name, weight in ours.items())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"at": ()}, "steps to copy at must be ascending"),
        ({"at": (64, 0)}, "steps to copy at must be ascending"),
        ({"at": (-1,)}, "steps to copy at must be ascending"),
        ({"draws": (3, 3)}, "two copies need two different draws, or they are the same run twice"),
    ],
)
def test_copies_that_could_not_differ_are_refused(settings: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rt.Instability(**settings)


def test_steps_of_which_there_is_no_state_are_refused() -> None:
    with pytest.raises(ValueError, match="step 192 is beyond the budget of 192"):
        replace(EXPERIMENT, searches={"copies": rt.Instability(at=(0, 192))})
    late = {"imp": rt.IMP(rewind=rt.Rewind(at=64)), "copies": rt.Instability(of="imp", at=(32, 96))}
    with pytest.raises(ValueError, match="tickets of 'imp' train from step 64 on"):
        replace(EXPERIMENT, searches=late)
