"""Training state: a run that goes on from a file ends bit-identical to one that was never interrupted."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from agents_matrix import (
    BY_NAME,
    CASES,
    Case,
    Parts,
    differing,
    pendulum,
    small,
    sparse_mask,
    state_tensors,
    tensors,
    trained,
    vec,
)
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rl_tickets as rt
from rl_tickets.agents.segments import begin_segment
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets import archive
from rl_tickets.training.requests import Progress, Trained, Training
from rl_tickets.training.ticketing import make_ticket
from rl_tickets.training.trainers import Trainer

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
JOINING = ("ppo", "a2c", "ppo_images", "ppo_images_apart", "ppo_box2d", "ppo_dict", "maskable_ppo")
COHORTS, PLAIN = rt.Cohorts(), rt.Plain()
every_trainer = pytest.mark.parametrize(
    ("case", "trainer"),
    [*((case, PLAIN) for case in CASES), *((BY_NAME[name], COHORTS) for name in JOINING)],
    ids=lambda value: value.name if isinstance(value, Case) else type(value).__name__,
)


@cache
def dense_run(name: str, trainer: Trainer = PLAIN) -> tuple[dict[str, torch.Tensor], Trained, list[Progress]]:
    case = BY_NAME[name]
    model, result, saved = trained(case, Training(0, keep_at=(case.at,)), trainer=trainer)
    return tensors(model), result, saved


def through_a_file(progress: Progress, folder: Path) -> Progress:
    archive.write(folder / "progress", progress.tree())
    return Progress.from_tree(archive.read(folder / "progress"))


@every_trainer
def test_resumed_from_a_file_a_run_ends_bit_identical(case: Case, trainer: Trainer, tmp_path: Path) -> None:
    end, dense, saved = dense_run(case.name, trainer)
    assert [progress.state.timesteps >= case.at for progress in saved] == [True, True]
    for progress in saved:
        model, result, _ = trained(
            case, Training(0, keep_at=(case.at,)), resume=through_a_file(progress, tmp_path), trainer=trainer
        )
        assert differing(tensors(model), end) == []
        assert result.timesteps == dense.timesteps
        assert result.curve == dense.curve
        assert differing(state_tensors(result.kept[case.at]), state_tensors(dense.kept[case.at])) == []


@every_trainer
def test_rewound_exactly_with_a_full_mask_a_run_ends_bit_identical(case: Case, trainer: Trainer) -> None:
    end, dense, _ = dense_run(case.name, trainer)
    rewind = rt.Rewind.exact(case.at)
    point = dense.kept[case.at]
    start = rewind.start(point, dense.end)
    ticket = make_ticket(dense.mask, start, dense, rewind, {})
    model, result, _ = trained(case, Training(1, ticket=ticket, start=start), trainer=trainer)
    assert differing(tensors(model), end) == []
    assert result.timesteps == dense.timesteps - point.timesteps


@every_trainer
def test_a_sparse_level_resumes_bit_identical(case: Case, trainer: Trainer, tmp_path: Path) -> None:
    _, dense, _ = dense_run(case.name, trainer)
    rewind = rt.Rewind(at=case.at)
    start = rewind.start(dense.kept[case.at], dense.end)
    mask = sparse_mask(case.make(0))
    request = Training(1, ticket=make_ticket(mask, start, dense, rewind, {}), start=start)
    model, result, saved = trained(case, request, trainer=trainer)
    again, other, _ = trained(case, request, resume=through_a_file(saved[0], tmp_path), trainer=trainer)
    assert differing(tensors(again), tensors(model)) == []
    assert (other.timesteps, other.curve) == (result.timesteps, result.curve)
    named = dict(again.policy.named_parameters())
    assert not any(named[name][~mask[name]].any() for name in mask)


def test_a_segment_depends_on_seed_and_step_only() -> None:
    ends = []
    for noise in (0, 99):
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        model, _, _ = trained(BY_NAME["ppo"], Training(0))
        ends.append(tensors(model))
    assert differing(*ends) == []


def test_seeds_differ_and_so_do_their_runs() -> None:
    def first_observation(seed: int, step: int) -> np.ndarray:
        model = BY_NAME["ppo"].make(0)
        begin_segment(model, seed, step)
        return np.asarray(model._last_obs)

    assert not np.array_equal(first_observation(0, 0), first_observation(1, 0))
    assert not np.array_equal(first_observation(0, 0), first_observation(0, 32))
    assert np.array_equal(first_observation(5, 32), first_observation(5, 32))


def test_a_captured_state_shares_nothing_with_the_agent() -> None:
    model = BY_NAME["sac"].make(0).learn(40)
    state = TrainingState.capture(model)
    before = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    assert state.replay_buffer is not None
    assert state.normalizer is not None
    rewards, mean = state.replay_buffer["rewards"].copy(), state.normalizer["observations"][""]["mean"].copy()
    model.learn(40, reset_num_timesteps=False)
    assert differing(state_tensors(state), before) == []
    assert np.array_equal(state.replay_buffer["rewards"], rewards)
    assert np.array_equal(state.normalizer["observations"][""]["mean"], mean)
    fresh = BY_NAME["sac"].make(1)
    state.restore(fresh)
    fresh.learn(40)
    assert differing(state_tensors(state), before) == []


@pytest.mark.parametrize("name", ["dqn", "dqn_n_steps", "dqn_small_memory", "dqn_her", "sac"])
@pytest.mark.parametrize("steps", [40, 76])
def test_a_restored_replay_buffer_gives_the_same_samples(name: str, steps: int, tmp_path: Path) -> None:
    model, fresh = BY_NAME[name].make(0).learn(steps), BY_NAME[name].make(1)
    TrainingState.capture(model).save(tmp_path / "state")
    TrainingState.load(tmp_path / "state").restore(fresh)
    batches = []
    for agent in (model, fresh):
        np.random.seed(0)  # noqa: NPY002
        batch = agent.replay_buffer.sample(200)  # type: ignore[attr-defined]
        batches.append([part for field in batch for part in (field.values() if isinstance(field, dict) else [field])])
    assert all(ours is theirs is None or torch.equal(ours, theirs) for ours, theirs in zip(*batches, strict=True))


def test_a_state_file_that_was_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    TrainingState.capture(BY_NAME["ppo"].make(0)).save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="altered"):
        TrainingState.load(path)


def test_only_the_named_parts_are_kept() -> None:
    state = TrainingState.capture(BY_NAME["sac"].make(0)).only("weights", "schedule")
    assert state.weights is not None
    assert state.schedule is not None
    assert (state.optimizers, state.normalizer, state.replay_buffer, state.counters) == (None,) * 4


@pytest.mark.parametrize("norm_obs", [True, False])
@pytest.mark.parametrize("norm_reward", [True, False])
def test_every_kind_of_vecnormalize_is_captured(norm_obs: bool, norm_reward: bool) -> None:
    def make(seed: int) -> PPO:
        env = VecNormalize(pendulum(), norm_obs=norm_obs, norm_reward=norm_reward)
        return PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=seed, policy_kwargs=small())

    model = make(0).learn(32)
    state = TrainingState.capture(model)
    fresh = make(1)
    state.restore(fresh)
    ours, theirs = fresh.get_vec_normalize_env(), model.get_vec_normalize_env()
    assert ours is not None
    assert theirs is not None
    assert ours.ret_rms.var == theirs.ret_rms.var
    if norm_obs:
        assert np.array_equal(ours.obs_rms.mean, theirs.obs_rms.mean)  # type: ignore[union-attr]


def test_statistics_of_another_shape_are_refused() -> None:
    state = TrainingState.capture(BY_NAME["sac"].make(0)).only("normalizer")
    with pytest.raises(ValueError, match=r"statistics of shape \(3,\) do not fit .* shape \(4,\)"):
        state.restore(BY_NAME["td3_mujoco"].make(0))
    bare = VecNormalize(pendulum(), norm_obs=False)
    with pytest.raises(ValueError, match="this VecNormalize has norm_obs=False"):
        state.restore(PPO("MlpPolicy", bare, policy_kwargs=small()))


def test_statistics_of_other_parts_are_refused() -> None:
    def of(*keys: str) -> PPO:
        return PPO("MultiInputPolicy", VecNormalize(vec(Parts), norm_obs_keys=[*keys]), policy_kwargs=small())

    for ours, theirs in ((("cart", "pole"), ("cart",)), (("cart",), ("cart", "pole"))):
        state = TrainingState.capture(of(*theirs)).only("normalizer")
        with pytest.raises(
            ValueError, match=re.escape(f"statistics of {[*theirs]}, and this VecNormalize of {[*ours]}")
        ):
            state.restore(of(*ours))


def test_moments_of_an_optimizer_the_agent_lacks_are_refused() -> None:
    state = TrainingState.capture(BY_NAME["sac"].make(0)).only("optimizers")
    fixed = SAC("MlpPolicy", pendulum(), ent_coef=0.1, buffer_size=10, policy_kwargs=small())
    with pytest.raises(ValueError, match="'ent_coef_optimizer', an optimizer this agent lacks"):
        state.restore(fixed)


def episode_ends(model: BaseAlgorithm, step: int) -> np.ndarray:
    """Which stored transitions an n-step return stops at."""
    buffer = model.replay_buffer  # type: ignore[attr-defined]
    begin_segment(model, 0, step)
    ends: np.ndarray = np.logical_or(buffer.dones, buffer.timeouts)[: buffer.pos, 0]
    return ends


def test_a_cut_ends_the_stored_episode_without_calling_it_a_failure() -> None:
    env = DummyVecEnv([lambda: vec("Pendulum-v1").envs[0]])  # type: ignore[attr-defined]
    model = SAC("MlpPolicy", env, learning_starts=5, n_steps=3, buffer_size=50, policy_kwargs=small()).learn(10)
    buffer = model.replay_buffer
    assert buffer is not None
    assert episode_ends(model, 10).tolist() == [False] * 9 + [True]
    assert not buffer.dones[9, 0], "the value of the state after a cut is still bootstrapped"


def test_a_cut_keeps_the_memory_saving_buffer_from_mixing_episodes() -> None:
    model = BY_NAME["dqn_small_memory"].make(0)
    assert isinstance(model, DQN)
    model.learn(1)
    begin_segment(model, 0, 1)
    assert model.replay_buffer is not None
    assert model.replay_buffer.dones[model.replay_buffer.pos - 1, 0]
