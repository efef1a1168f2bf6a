"""The agents matrix: one small agent of every kind that holding, state and searches must work for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.cohorts import tracing
from rl_tickets.training.requests import Progress, Trained, Training
from rl_tickets.training.runs import Setting, TrainingRun
from rl_tickets.training.trainers import Plain, Train, Trainer

PLAIN = Plain()


class Image(gym.Env[np.ndarray, int]):
    """A bright half of a small image tells the right action."""

    observation_space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._draw(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = float(action == self._bright)
        return self._draw(), reward, self._steps == 10, False, {}

    def _draw(self) -> np.ndarray:
        self._bright = int(self.np_random.integers(2))
        image = self.np_random.integers(0, 50, (1, 36, 36)).astype(np.uint8)
        image[:, 18 * self._bright :][:, :18] += 200
        return image


class Parts(gym.ObservationWrapper[dict[str, np.ndarray], int, np.ndarray]):
    """CartPole observed in two parts."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        parts = {"cart": spaces.Box(-np.inf, np.inf, (2,)), "pole": spaces.Box(-np.inf, np.inf, (2,))}
        self.observation_space = spaces.Dict(parts)

    def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        return {"cart": observation[:2], "pole": observation[2:]}


class OneWay(gym.Wrapper[np.ndarray, int, np.ndarray, int]):
    """CartPole in which pushing left is forbidden on the left side."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))

    def action_masks(self) -> list[bool]:
        return [bool(self.env.unwrapped.state[0] > 0), True]  # type: ignore[attr-defined]


class CuriousPolicy(ActorCriticPolicy):
    """A user's own policy: an extra head with an optimizer of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.forward_head = torch.nn.Linear(4, 4)
        self.forward_optimizer = torch.optim.Adam(self.forward_head.parameters(), lr=1e-2)


class Curious(PPO):
    """A user's own algorithm: trains the extra head to guess observations."""

    def train(self) -> None:
        super().train()
        observations = torch.as_tensor(self.rollout_buffer.observations).reshape(-1, 4)
        loss = (self.policy.forward_head(observations) - observations).square().mean()  # type: ignore[operator]
        self.policy.forward_optimizer.zero_grad()  # type: ignore[union-attr, operator]
        loss.backward()
        self.policy.forward_optimizer.step()  # type: ignore[union-attr, operator]


class Writing(PPO):
    """A user's own algorithm that writes weights past the optimizer, and keeps a tensor of its own."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self.drift = [torch.zeros(1)]

    def train(self) -> None:
        super().train()
        self.drift[0] += 1e-4
        for parameter in self.policy.parameters():
            parameter.data = parameter.data + self.drift[0]


def vec(make: str | Callable[[], gym.Env[Any, Any]], count: int = 1, normalize: bool = False) -> VecEnv:
    def one() -> gym.Env[Any, Any]:
        return Monitor(gym.make(make) if isinstance(make, str) else make())

    envs: VecEnv = DummyVecEnv([one] * count)
    return VecNormalize(envs) if normalize else envs


def cartpole(count: int = 1) -> VecEnv:
    return vec("CartPole-v1", count)


def pendulum(count: int = 1, normalize: bool = False) -> VecEnv:
    return vec("Pendulum-v1", count, normalize)


ON: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}
OFF: dict[str, Any] = {"learning_starts": 24, "batch_size": 8, "buffer_size": 500}


def small(**more: Any) -> dict[str, Any]:
    """SB3 writes into the dictionaries it is given: a new one each time. Tanh: no unit is dead from the start."""
    return {"net_arch": [8, 8], "activation_fn": torch.nn.Tanh, **more}


def weights(prefix: str, *layers: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{layer}.weight" for layer in layers)


@dataclass(frozen=True)
class Case:
    """An agent of the matrix, and what is known of its anatomy.

    Args:
        make: a fresh agent for a seed.
        actor: names of its prunable weights, as `critic` and `shared`.
        twins: prefix of a target network -> prefix of its origin.
        optimizers: their attribute paths.
        stock: whether SB3 alone can load its saved file.
    """

    name: str
    make: Callable[[int], BaseAlgorithm]
    actor: tuple[str, ...] = ()
    critic: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    twins: tuple[tuple[str, str], ...] = ()
    optimizers: tuple[str, ...] = ("policy.optimizer",)
    stock: bool = True
    total: int = 96
    at: int = 32

    @property
    def prunable(self) -> set[str]:
        return {*self.actor, *self.critic, *self.shared}


PI = (*weights("mlp_extractor.policy_net", "0", "2"), "action_net.weight")
V = (*weights("mlp_extractor.value_net", "0", "2"), "value_net.weight")
Q = weights("q_net.q_net", "0", "2", "4")
QF = (*weights("critic.qf0", "0", "2", "4"), *weights("critic.qf1", "0", "2", "4"))
GAUSSIAN = (*weights("actor.latent_pi", "0", "2"), "actor.mu.weight", "actor.log_std.weight")
MU = weights("actor.mu", "0", "2", "4")
CNN = ("cnn.0", "cnn.2", "cnn.4", "linear.0")
CRITIC = (("critic_target", "critic"),)
BOTH = (("actor_target", "actor"), *CRITIC)
PAIR = ("policy.actor.optimizer", "policy.critic.optimizer")
ENTROPY = (*PAIR, "ent_coef_optimizer")


def lstm(name: str) -> tuple[str, ...]:
    return (f"{name}.weight_ih_l0", f"{name}.weight_hh_l0")


CASES = (
    Case(
        "ppo",
        lambda s: PPO(
            "MlpPolicy", cartpole(), learning_rate=LinearSchedule(1e-2, 1e-3, 1.0), seed=s, policy_kwargs=small(), **ON
        ),
        PI,
        V,
    ),
    Case("a2c", lambda s: A2C("MlpPolicy", cartpole(2), n_steps=8, seed=s, policy_kwargs=small()), PI, V),
    Case(
        "dqn",
        lambda s: DQN("MlpPolicy", cartpole(), seed=s, target_update_interval=10, policy_kwargs=small(), **OFF),
        critic=Q,
        twins=(("q_net_target", "q_net"),),
    ),
    Case(
        "dqn_n_steps",
        lambda s: DQN("MlpPolicy", cartpole(), seed=s, n_steps=3, train_freq=4, policy_kwargs=small(), **OFF),
        critic=Q,
        twins=(("q_net_target", "q_net"),),
    ),
    Case(
        "dqn_small_memory",
        lambda s: DQN(
            "MlpPolicy",
            cartpole(),
            seed=s,
            replay_buffer_class=ReplayBuffer,
            replay_buffer_kwargs={"handle_timeout_termination": False},
            optimize_memory_usage=True,
            policy_kwargs=small(),
            **{**OFF, "buffer_size": 60},
        ),
        critic=Q,
        twins=(("q_net_target", "q_net"),),
    ),
    Case(
        "dqn_her",
        lambda s: DQN(
            "MultiInputPolicy",
            vec(lambda: BitFlippingEnv(n_bits=4, max_steps=4)),
            seed=s,
            replay_buffer_class=HerReplayBuffer,
            policy_kwargs=small(),
            **OFF,
        ),
        critic=Q,
        twins=(("q_net_target", "q_net"),),
        at=32,
    ),
    Case(
        "ddpg",
        lambda s: DDPG("MlpPolicy", pendulum(), seed=s, policy_kwargs=small(), **OFF),
        MU,
        QF[:3],
        twins=BOTH,
        optimizers=PAIR,
    ),
    Case(
        "td3",
        lambda s: TD3(
            "MlpPolicy",
            pendulum(2),
            seed=s,
            action_noise=OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1)),
            policy_kwargs=small(),
            **OFF,
        ),
        MU,
        QF,
        twins=BOTH,
        optimizers=PAIR,
    ),
    Case(
        "sac",
        lambda s: SAC("MlpPolicy", pendulum(normalize=True), seed=s, policy_kwargs=small(), **OFF),
        GAUSSIAN,
        QF,
        twins=CRITIC,
        optimizers=ENTROPY,
    ),
    Case(
        "sac_sde",
        lambda s: SAC("MlpPolicy", pendulum(), seed=s, use_sde=True, train_freq=8, policy_kwargs=small(), **OFF),
        (*GAUSSIAN[:2], "actor.mu.0.weight"),
        QF,
        twins=CRITIC,
        optimizers=ENTROPY,
    ),
    Case(
        "sac_images_shared",
        lambda s: SAC(
            "CnnPolicy",
            vec(lambda: Steered(Image())),
            seed=s,
            ent_coef=0.1,
            learning_starts=24,
            batch_size=4,
            buffer_size=100,
            policy_kwargs={
                **small(),
                "share_features_extractor": True,
                "features_extractor_kwargs": {"features_dim": 32},
            },
        ),
        GAUSSIAN,
        QF,
        weights("actor.features_extractor", *CNN),
        twins=CRITIC,
        optimizers=PAIR,
        total=48,
        at=16,
    ),
    Case(
        "qrdqn",
        lambda s: QRDQN("MlpPolicy", cartpole(), seed=s, policy_kwargs=small(n_quantiles=5), **OFF),
        critic=weights("quantile_net.quantile_net", "0", "2", "4"),
        twins=(("quantile_net_target", "quantile_net"),),
    ),
    Case(
        "tqc",
        lambda s: TQC("MlpPolicy", pendulum(), seed=s, policy_kwargs=small(n_quantiles=5), **OFF),
        GAUSSIAN,
        QF,
        twins=CRITIC,
        optimizers=ENTROPY,
    ),
    Case(
        "crossq",
        lambda s: CrossQ("MlpPolicy", pendulum(), seed=s, policy_kwargs=small(), **OFF),
        (*weights("actor.latent_pi", "1", "4"), "actor.mu.weight", "actor.log_std.weight"),
        (*weights("critic.qf0", "1", "4", "7"), *weights("critic.qf1", "1", "4", "7")),
        optimizers=ENTROPY,
    ),
    Case(
        "trpo",
        lambda s: TRPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, seed=s, policy_kwargs=small()),
        PI,
        V,
    ),
    Case(
        "recurrent_ppo",
        lambda s: RecurrentPPO("MlpLstmPolicy", cartpole(2), seed=s, policy_kwargs=small(lstm_hidden_size=8), **ON),
        (*PI, *lstm("lstm_actor")),
        (*V, *lstm("lstm_critic")),
    ),
    Case("maskable_ppo", lambda s: MaskablePPO("MlpPolicy", vec(OneWay), seed=s, policy_kwargs=small(), **ON), PI, V),
    Case(
        "ppo_images",
        lambda s: PPO(
            "CnnPolicy",
            vec(Image),
            seed=s,
            policy_kwargs={"features_extractor_kwargs": {"features_dim": 32}},
            **ON,
        ),
        ("action_net.weight",),
        ("value_net.weight",),
        weights("features_extractor", *CNN),
        total=48,
        at=16,
    ),
    Case(
        "ppo_images_apart",
        lambda s: PPO(
            "CnnPolicy",
            vec(Image),
            seed=s,
            policy_kwargs={"features_extractor_kwargs": {"features_dim": 32}, "share_features_extractor": False},
            **ON,
        ),
        (*weights("features_extractor", *CNN), "action_net.weight"),
        (*weights("vf_features_extractor", *CNN), "value_net.weight"),
        total=48,
        at=16,
    ),
    Case(
        "ppo_sde_normalized",
        lambda s: PPO("MlpPolicy", pendulum(2, True), seed=s, use_sde=True, policy_kwargs=small(), **ON),
        PI,
        V,
    ),
    Case(
        "ppo_dict",
        lambda s: PPO(
            "MultiInputPolicy", vec(Parts), seed=s, policy_kwargs={"net_arch": {"pi": [8, 8], "vf": [8, 8]}}, **ON
        ),
        PI,
        V,
    ),
    Case(
        "ppo_box2d",
        lambda s: PPO("MlpPolicy", vec("LunarLander-v3", 2), seed=s, policy_kwargs=small(), **ON),
        PI,
        V,
    ),
    Case(
        "td3_mujoco",
        lambda s: TD3(
            "MlpPolicy",
            vec("InvertedPendulum-v5", normalize=True),
            seed=s,
            action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.1)),
            policy_kwargs=small(),
            **OFF,
        ),
        MU,
        QF,
        twins=BOTH,
        optimizers=PAIR,
    ),
    Case(
        "own_heads",
        lambda s: Curious(CuriousPolicy, cartpole(), seed=s, policy_kwargs=small(), **ON),
        PI,
        V,
        ("forward_head.weight",),
        optimizers=("policy.optimizer", "policy.forward_optimizer"),
        stock=False,
    ),
    Case(
        "own_writing",
        lambda s: Writing("MlpPolicy", cartpole(), seed=s, policy_kwargs=small(), **ON),
        PI,
        V,
        stock=False,
    ),
)
BY_NAME = {case.name: case for case in CASES}


class Steered(gym.ActionWrapper[np.ndarray, np.ndarray, int]):
    """A discrete environment with one continuous action, for SAC."""

    def __init__(self, env: gym.Env[np.ndarray, int]) -> None:
        super().__init__(env)
        self.action_space = spaces.Box(-1.0, 1.0, (1,))

    def action(self, action: np.ndarray) -> int:
        return int(action[0] > 0)


def sparse_mask(model: BaseAlgorithm, seed: int = 0) -> Mask:
    """A mask that keeps about two thirds of every prunable layer."""
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(bits.shape, generator=generator) < 0.66 for name, bits in Mask.dense(model).items()})


def tensors(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Copies of everything an agent has learned: policy, buffers, and loose tensors such as `log_ent_coef`."""
    loose = {name: value for name, value in vars(model).items() if isinstance(value, torch.Tensor)}
    return {name: value.detach().clone() for name, value in {**model.policy.state_dict(), **loose}.items()}


def state_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    """The same of a captured state."""
    assert state.weights is not None
    return {**state.policy, **state.weights["tensors"]}


def differing(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> list[str]:
    """Names that are not equal in every bit."""
    assert list(ours) == list(theirs)
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


_STARTED: dict[tuple[Trainer, bool], Train] = {}


def started(trainer: Trainer) -> Train:
    """Trains in cohorts that were traced once for all tests: as at the levels of a search, each has new members.

    Where a training ends with an error, or what is traced or said matters, a trainer is started for it alone.
    """
    return _STARTED.setdefault((trainer, tracing.compiler() is None), trainer.start())


def train(
    setting: Setting, request: Training, resume: Progress | None = None, trainer: Trainer = PLAIN
) -> tuple[BaseAlgorithm, Trained]:
    """One level, trained alone."""
    run = TrainingRun(setting, request, resume)
    started(trainer)([run])
    return run.model, run.finish()


def trained(
    case: Case,
    request: Training,
    *,
    resume: Progress | None = None,
    boundaries: tuple[int, ...] = (),
    trainer: Trainer = PLAIN,
    **settings: Any,
) -> tuple[BaseAlgorithm, Trained, list[Progress]]:
    """A level of a case, and the checkpoints that were made on the way."""
    saved: list[Progress] = []
    boundaries = boundaries or (0, case.at, 2 * case.at)
    setting = Setting(case.make, 3, case.total, boundaries, checkpoint=saved.append, **settings)
    model, result = train(setting, request, resume, trainer)
    return model, result, saved


class Watch(BaseCallback):
    """Captures the training state at the very start of a level, before its first segment."""

    def __init__(self, seen: list[TrainingState]) -> None:
        super().__init__()
        self._seen = seen

    def _on_training_start(self) -> None:
        self._seen.append(TrainingState.capture(self.model))

    def _on_step(self) -> bool:
        return True


class LearningRates(Logger):
    """A logger that remembers the learning rates it is told."""

    def __init__(self) -> None:
        super().__init__(folder=None, output_formats=[])
        self.seen: list[float] = []

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        if key == "train/learning_rate":
            self.seen.append(value)
