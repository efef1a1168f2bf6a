"""Criteria before training: scores by hand, the conservation law, the axiom of maximal compression, own losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, CuriousPolicy, OneWay, differing, tensors, vec
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny import make_env
from torch import nn

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.experience import Experience
from rl_tickets.agents.linear import LinearPolicy
from rl_tickets.agents.networks import network_of
from rl_tickets.agents.own_loss import OwnLoss
from rl_tickets.tickets.criteria import Criterion, Weights

UNDERSTOOD = [case for case in CASES if case.name != "own_heads"]
by_case = pytest.mark.parametrize("case", UNDERSTOOD, ids=lambda case: case.name)


def initial(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """The agent's prunable weights."""
    return {name: p.detach().clone() for name, p in anatomy.prunable_weights(model).items()}


def make_ppo(**changes: Any) -> PPO:
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "seed": 0, "device": "cpu", **changes}
    return PPO(settings.pop("policy", "MlpPolicy"), DummyVecEnv([make_env]), **settings)


# SynFlow


def test_synflow_by_hand() -> None:
    """Two layers, whose flow is |W2| |W1| 1: neither tanh nor biases, and each head by itself."""
    model = make_ppo(policy_kwargs={"net_arch": [2]})
    first, second = model.policy.mlp_extractor.policy_net[0], model.policy.action_net
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -2.0, 0.0, 3.0], [0.5, 0.5, -1.0, 1.0]]))
        second.weight.copy_(torch.tensor([[2.0, -1.0], [-3.0, 4.0]]))
        first.bias.fill_(100.0)
        second.bias.fill_(-7.0)
    scores = rt.synflow.of(model)(initial(model), {})
    # Hidden units hear 6 and 3, and weigh 5 in the outputs each: 45 flows out.
    np.testing.assert_allclose(
        scores["mlp_extractor.policy_net.0.weight"] * 45, [[5, 10, 0, 15], [2.5, 2.5, 5, 5]], rtol=1e-12
    )
    np.testing.assert_allclose(scores["action_net.weight"] * 45, [[12, 3], [18, 12]], rtol=1e-12)


@by_case
def test_what_flows_into_a_hidden_unit_flows_out(case: Case) -> None:
    """The conservation law of synaptic saliency (Tanaka et al. 2020, theorem 1), at every hidden unit."""
    model = case.make(0)
    scores, found = rt.synflow.of(model)(initial(model), {}), rt.wiring(model)
    checked = 0
    for layer in found.hidden:
        names = [layer.name] if layer.recurrent is None else [layer.name, layer.recurrent]
        incoming = torch.stack(
            [scores[name].reshape(-1, layer.outputs, scores[name][0].numel()).sum((0, 2)) for name in names]
        )
        outgoing = torch.zeros(layer.outputs, dtype=torch.float64)
        for feed in found.out_of(layer.name):
            if "features_extractor" in layer.name and feed.target.startswith("critic") and case.name.startswith("sac"):
                continue  # The critic does not train the extractor it shares: flow begins anew.
            columns = scores[feed.target]
            heard = columns.sum([0, *range(2, columns.ndim)])
            units = torch.tensor(feed.units)
            outgoing.index_add_(0, units[units >= 0], heard[units >= 0])
        np.testing.assert_allclose(incoming.sum(0), outgoing, rtol=1e-9)
        checked += layer.outputs
    assert checked >= 8


@by_case
def test_scoring_leaves_the_agent_alone(case: Case) -> None:
    model = case.make(0)
    before, draws = tensors(model), torch.get_rng_state()
    forwards = [vars(module).get("forward") for module in model.policy.modules()]
    rt.synflow.of(model)(initial(model), {})
    assert not differing(before, tensors(model))
    assert torch.equal(draws, torch.get_rng_state())
    assert forwards == [vars(module).get("forward") for module in model.policy.modules()]


def first_collapse(model: BaseAlgorithm, criterion: Criterion, scope: str = "global") -> float:
    """The first density of 10^-1/2, 10^-1, ... at which a layer is empty, 0 if none is down to one weight a layer."""
    weights = initial(model)
    total, layers = sum(w.numel() for w in weights.values()), len(weights)
    densities = [d for k in range(1, 10) if (d := 10 ** (-k / 2)) * total > layers]
    for density in (*densities, layers / total):
        pruned = rt.prune(weights, density, criterion=criterion, scope=scope, network_of=network_of, keep_last=False)
        if pruned.collapsed:
            return density
        assert connected(model, pruned.mask) or criterion is rt.magnitude
    return 0.0


def connected(model: BaseAlgorithm, mask: rt.Mask) -> bool:
    """Whether a path leads to every head."""
    policy = LinearPolicy(model)
    return all(flow > 0 for flow in policy.outputs(policy.leaves(mask.apply(initial(model)))))


def plain_sum(model: BaseAlgorithm) -> Criterion:
    """SynFlow of the plain sum of all that flows out of all heads."""
    policy = LinearPolicy(model)

    def criterion(weights: Weights, start: Weights) -> Weights:
        leaves = policy.leaves(weights)
        torch.stack(policy.outputs(leaves)).sum().backward()
        return {name: leaf * leaf.grad for name, leaf in policy.of(leaves).items()}  # type: ignore[operator]

    return criterion


@pytest.mark.parametrize("net_arch", [[64, 64], [32, 16, 8]])
def test_synflow_reaches_maximal_compression_where_others_collapse(net_arch: list[int]) -> None:
    """Tanaka et al. 2020, axiom: as long as every layer can keep a weight, it does."""
    model = make_ppo(policy_kwargs={"net_arch": net_arch})
    assert first_collapse(model, rt.synflow.of(model)) == 0
    assert first_collapse(model, rt.synflow.of(model), "network") == 0
    assert first_collapse(model, rt.magnitude) > 0.05
    assert first_collapse(model, rt.Snip(timesteps=256).of(model)) > 0.05
    assert first_collapse(model, rt.SynFlow(rounds=1).of(model)) > 0, "it takes many rounds"


def test_the_plain_sum_of_all_heads_would_prune_the_actor_away() -> None:
    model = make_ppo()
    pruned = rt.prune(initial(model), 0.3, criterion=plain_sum(model), keep_last=False, rounds=100)
    assert pruned.mask.layers["action_net.weight"].kept == 0
    assert pruned.mask.layers["value_net.weight"].kept > 0


def test_deep_and_wide_networks_do_not_overflow() -> None:
    model = make_ppo(policy_kwargs={"net_arch": [256] * 30, "activation_fn": nn.ReLU})
    for scores in rt.synflow.of(model)(initial(model), {}).values():
        assert scores.isfinite().all()
        assert float(scores.sum()) == pytest.approx(1.0, rel=1e-9)


def test_pruned_weights_and_what_they_cut_off_score_nothing() -> None:
    model = make_ppo(policy_kwargs={"net_arch": [3, 3]})
    weights = initial(model)
    weights["mlp_extractor.policy_net.2.weight"][1] = 0
    scores = rt.synflow.of(model)(weights, {})
    assert not scores["action_net.weight"][:, 1].any()
    assert scores["action_net.weight"][:, [0, 2]].all()
    nothing = rt.synflow.of(model)({name: torch.zeros_like(w) for name, w in weights.items()}, {})
    assert not any(part.any() for part in nothing.values())


class Extractor(BaseFeaturesExtractor):
    """Whatever a test puts between observation and networks."""

    def __init__(self, space: spaces.Box, body: nn.Module, through: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(space, 6)
        self.body, self.through = body, through

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.through(self.body(observations))


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def extracting(body: Callable[[], nn.Module], through: Callable[[torch.Tensor], torch.Tensor] = same) -> PPO:
    kwargs = {"body": body(), "through": through}
    return make_ppo(policy_kwargs={"features_extractor_class": Extractor, "features_extractor_kwargs": kwargs})


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((6,), -2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


@pytest.mark.parametrize(
    "body",
    [
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU()),
        lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.PReLU(), nn.Dropout(0.5)),
        lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 3), nn.Tanh(), nn.MaxPool1d(1), nn.Flatten()),
    ],
)
def test_policies_of_ones_own_are_made_linear(body: Callable[[], nn.Module]) -> None:
    model = extracting(body)
    scores = rt.synflow.of(model)(initial(model), {})
    first = next(name for name in scores if name.startswith("features_extractor"))
    assert float(scores[first].sum()) == pytest.approx(2.0, rel=1e-9), "both networks' flow"


@pytest.mark.parametrize(
    ("body", "through", "sentence"),
    [
        (lambda: nn.Linear(4, 6), torch.tanh, "a function on the way to 'mlp_extractor.policy_net.0' is not linear"),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.Softmax(-1)), same, r"'features_extractor.body.1' \(Softmax\) on"),
        (lambda: nn.Linear(4, 6), lambda x: x + 1, "a function on the way to"),
        (lambda: nn.Linear(4, 6), lambda x: x * x, "a function on the way to"),
        (lambda: nn.Sequential(nn.Linear(4, 6), Scaled()), same, "'features_extractor.body.1.factor' belongs to a mod"),
        (lambda: nn.GRU(4, 6), lambda x: x[0], r"'features_extractor.body.weight_ih_l0' \(of a GRU\) is no weight of"),
    ],
)
def test_what_cannot_be_made_linear_is_refused_by_name(body: Any, through: Any, sentence: str) -> None:
    model = extracting(body, through)
    with pytest.raises(rt.SaliencyError, match=sentence):
        rt.synflow.of(model)
    with pytest.raises(rt.SaliencyError, match=sentence):
        rt.synflow.check(model)


def test_weights_that_are_never_called_are_refused_unless_left_out() -> None:
    model = BY_NAME["own_heads"].make(0)
    with pytest.raises(rt.SaliencyError, match=r"'forward_head\.weight' \(of a Linear\) is no weight"):
        rt.synflow.of(model)
    rt.synflow.of(model, prunable=lambda name, p: p.ndim == 2 and "forward" not in name)


# The algorithm's own loss


class Recording(A2C):
    """Keeps what it trains on."""

    seen: list[Any] = []  # noqa: RUF012

    def train(self) -> None:
        for data in self.rollout_buffer.get(batch_size=None):
            self.seen.append(data)
        super().train()


def test_snip_and_grasp_by_hand() -> None:
    """A2C without hidden layers: the value is least squares, the policy a softmax regression weighted by advantage."""
    Recording.seen.clear()
    env = vec("CartPole-v1", 2)
    kwargs = {"net_arch": []}
    model = Recording("MlpPolicy", env, n_steps=20, vf_coef=0.5, seed=0, policy_kwargs=kwargs, device="cpu")
    weights = initial(model)
    weights["action_net.weight"] += torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    snip = rt.Snip(timesteps=40).of(model, seed=3)
    assert snip.timesteps == 40
    scores = snip(weights, weights)
    (data,) = Recording.seen
    x, advantages = data.observations.double().numpy(), data.advantages.double().numpy()
    v, returns = weights["value_net.weight"].double().numpy(), data.returns.double().numpy()
    w, chosen = weights["action_net.weight"].double().numpy(), data.actions.long().flatten().numpy()
    count = len(x)
    # 0.5 mean (v x - return)²
    value_gradient = ((x @ v.T).ravel() - returns) @ x / count
    np.testing.assert_allclose(scores["value_net.weight"][0], np.abs(v[0] * value_gradient), rtol=1e-4)
    # -mean advantage log p(chosen)
    logits = x @ w.T
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    actor_gradient = -((np.eye(2)[chosen] - p) * advantages[:, None]).T @ x / count
    np.testing.assert_allclose(scores["action_net.weight"], np.abs(w * actor_gradient), rtol=1e-3, atol=1e-7)
    scores = rt.Grasp(timesteps=40).of(model, seed=3)(weights, weights)
    product = x.T @ (x @ value_gradient) / count
    np.testing.assert_allclose(scores["value_net.weight"][0], v[0] * product, rtol=1e-3)
    curved = (np.einsum("ni,ij->nij", p, np.eye(2)) - np.einsum("ni,nj->nij", p, p)) * advantages[:, None, None]
    product = np.einsum("nij,nj,nk->ik", curved, x @ actor_gradient.T, x) / count
    np.testing.assert_allclose(scores["action_net.weight"], w * product, rtol=2e-3, atol=1e-6)


SGD = {"optimizer_class": torch.optim.SGD, "net_arch": [8, 8], "activation_fn": nn.Tanh}
ON: dict[str, Any] = {"n_steps": 32, "learning_rate": 0.1, "max_grad_norm": 1e9, "seed": 0, "device": "cpu"}
OFF: dict[str, Any] = {"batch_size": 64, "buffer_size": 200, "learning_rate": 3e-4, "seed": 0, "device": "cpu"}
STEPPING: dict[str, Callable[[], BaseAlgorithm]] = {
    "ppo": lambda: PPO("MlpPolicy", make_env(), batch_size=32, n_epochs=1, policy_kwargs={**SGD}, **ON),
    "a2c": lambda: A2C("MlpPolicy", make_env(), policy_kwargs={**SGD}, use_rms_prop=False, **ON),
    "recurrent_ppo": lambda: RecurrentPPO(
        "MlpLstmPolicy", make_env(), batch_size=32, n_epochs=1, policy_kwargs={**SGD, "lstm_hidden_size": 8}, **ON
    ),
    "maskable_ppo": lambda: MaskablePPO(
        "MlpPolicy", vec(OneWay), batch_size=32, n_epochs=1, policy_kwargs={**SGD}, **ON
    ),
    "dqn": lambda: DQN("MlpPolicy", make_env(), max_grad_norm=1e9, policy_kwargs={**SGD}, **OFF),
    "qrdqn": lambda: QRDQN("MlpPolicy", make_env(), max_grad_norm=None, policy_kwargs={**SGD}, **OFF),
    "ddpg": lambda: DDPG("MlpPolicy", "Pendulum-v1", policy_kwargs={**SGD}, **OFF),
    "td3": lambda: TD3("MlpPolicy", "Pendulum-v1", policy_delay=1, policy_kwargs={**SGD}, **OFF),
    "sac": lambda: SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={**SGD}, **OFF),
    "tqc": lambda: TQC("MlpPolicy", "Pendulum-v1", policy_kwargs={**SGD}, **OFF),
    "crossq": lambda: CrossQ("MlpPolicy", "Pendulum-v1", policy_delay=1, policy_kwargs={**SGD}, **OFF),
}


@pytest.mark.parametrize("name", STEPPING)
def test_the_gradient_is_what_moves_weights_in_sb3s_own_train(name: str) -> None:
    """One step of plain gradient descent on one minibatch moves a weight by the step times its gradient."""
    gradient = OwnLoss(STEPPING[name](), 32, seed=5).gradient({})
    model = STEPPING[name]()
    learner = Experience(model, 32, seed=5)
    agent: Any = learner.learner
    before = initial(agent)
    learner.train(lambda: None)
    for key, weight in initial(agent).items():
        moved = (before[key] - weight) / agent.learning_rate
        # Off-policy actors see the critic after its step.
        assert float((moved - gradient[key]).norm()) < 0.03 * float(gradient[key].norm()), key


def test_gradients_are_means_over_minibatches_rollouts_and_one_epoch() -> None:
    """Without normalised advantages, minibatches of any size give the gradient of the whole."""
    settings: dict[str, Any] = {"n_steps": 32, "normalize_advantage": False, "gae_lambda": 0.0}
    whole = OwnLoss(make_ppo(batch_size=32, n_epochs=1, **settings), 64, seed=2).gradient({})
    parts = OwnLoss(make_ppo(batch_size=8, n_epochs=5, target_kl=1e-9, **settings), 64, seed=2).gradient({})
    for name, found in whole.items():
        np.testing.assert_allclose(parts[name], found, rtol=1e-4, atol=1e-7)


def test_trpos_losses_are_those_of_ppo_before_anything_moved() -> None:
    """Surrogate and squared error; PPO halves the latter."""
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "seed": 0, "device": "cpu"}
    theirs = OwnLoss(TRPO("MlpPolicy", make_env(), **settings), 32, seed=2).gradient({})
    ours = OwnLoss(PPO("MlpPolicy", make_env(), **settings), 32, seed=2).gradient({})
    for name, found in ours.items():
        factor = 0.5 if network_of(name) == "critic" else 1.0
        np.testing.assert_allclose(theirs[name] * factor, found, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "far"),
    # ReLU's kinks are near.
    [("ppo", 1e-3), ("a2c", 1e-3), ("maskable_ppo", 1e-3), ("recurrent_ppo", 1e-3), ("ppo_images", 1e-5)],
)
def test_the_hessians_product_is_the_derivative_of_the_gradient_along_it(name: str, far: float) -> None:
    loss = OwnLoss(BY_NAME[name].make(0), 16, seed=4)
    weights = initial(BY_NAME[name].make(0))
    gradient, product = loss.gradient(weights), loss.hessian_gradient(weights)
    size = sum(float(part.square().sum()) for part in gradient.values()) ** 0.5
    far /= size

    def at(step: float) -> dict[str, torch.Tensor]:
        return loss.gradient({key: (w + step * gradient[key]).float() for key, w in weights.items()})

    ahead, behind = at(far), at(-far)
    error = sum(float(((ahead[k] - behind[k]) / (2 * far) - product[k]).square().sum()) for k in product) ** 0.5
    assert error < 0.02 * sum(float(part.square().sum()) for part in product.values()) ** 0.5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fresh_agent_learns_as_if_nothing_had_been_collected(case: Case) -> None:
    plain = case.make(0)
    plain.learn(48)
    model = case.make(0)
    before = tensors(model)
    scores = rt.Snip(timesteps=32).of(model, seed=1)(initial(model), {})
    assert all(part.isfinite().all() for part in scores.values())
    assert not differing(before, tensors(model))
    model.learn(48)
    assert not differing(tensors(model), tensors(plain))


@pytest.mark.parametrize("criterion", [rt.Snip(timesteps=64), rt.Grasp(timesteps=64)], ids=["snip", "grasp"])
@pytest.mark.parametrize("name", ["ppo", "sac", "crossq", "own_writing"])
def test_the_same_seed_gives_the_same_scores_again_and_again(name: str, criterion: rt.AgentCriterion) -> None:
    first, second = (criterion.of(BY_NAME[name].make(0), seed=1) for _ in range(2))
    weights = initial(BY_NAME[name].make(0))
    ours, again, theirs = first(weights, {}), first(weights, {}), second(weights, {})
    other = criterion.of(BY_NAME[name].make(0), seed=2)(weights, {})
    for key in weights:
        assert torch.equal(ours[key], theirs[key])
        assert torch.equal(ours[key], again[key])
    assert any(not torch.equal(ours[key], other[key]) for key in weights)


def test_iterative_snip_scores_what_is_left_anew() -> None:
    model = make_ppo()
    weights = initial(model)
    once, often = (
        rt.prune(weights, 0.1, criterion=rt.Snip(timesteps=64, rounds=rounds).of(model)).mask for rounds in (1, 5)
    )
    assert once != often
    assert once.kept == often.kept


def test_grasp_keeps_more_gradient_than_its_opposite() -> None:
    model = make_ppo(policy_kwargs={"net_arch": [16]})
    weights, loss = initial(model), OwnLoss(model, 64, seed=0)
    grasp = rt.Grasp(timesteps=64).of(model)

    def norm(sign: float) -> float:
        def criterion(weights: Weights, start: Weights) -> Weights:
            return {name: sign * part for name, part in grasp(weights, start).items()}

        mask = rt.prune(weights, 0.97, criterion=criterion).mask
        return sum(float(part.square().sum()) for part in loss.gradient(mask.apply(weights)).values())

    assert norm(1.0) > norm(0.0) > norm(-1.0), "and more than ties, which go to the earlier weights"


# Bad input


@pytest.mark.parametrize("criterion", [rt.snip, rt.grasp])
def test_data_needs_an_environment(criterion: rt.AgentCriterion) -> None:
    model = make_ppo()
    model.env = None
    for act in (criterion.of, criterion.check):
        with pytest.raises(ValueError, match=r"this PPO has no environment, so that there is no data for its loss"):
            act(model)
    rt.synflow.of(model)


@pytest.mark.parametrize("make", [rt.SynFlow, rt.Snip, rt.Grasp])
@pytest.mark.parametrize("rounds", [0, 1.5, True])
def test_rounds_are_whole_numbers(make: Any, rounds: Any) -> None:
    with pytest.raises(ValueError, match="rounds must be a whole number of at least 1"):
        make(rounds=rounds)
    with pytest.raises(ValueError, match="rounds must be a whole number of at least 1"):
        rt.prune({"w": torch.ones(4, 4)}, 0.5, rounds=rounds)


def test_no_environment_steps_are_no_data() -> None:
    with pytest.raises(ValueError, match="timesteps must be at least 1 environment step, got 0"):
        rt.Snip(timesteps=0)


def test_a_weight_that_no_loss_moves_is_named() -> None:
    model = make_ppo(policy=CuriousPolicy)  # Whose extra head only `Curious` trains.
    with pytest.raises(ValueError, match=r"no loss of this algorithm moves 'forward_head\.weight', so that it has no"):
        rt.Snip(timesteps=32).of(model)(initial(model), {})
