"""Holding: pruned weights are exactly zero whatever trains the agent, and kept ones train as if alone."""

import copy
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, cartpole, differing, small, sparse_mask, tensors
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import held_mask

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def leaks(model: BaseAlgorithm, mask: rt.Mask) -> list[str]:
    """Names of tensors with a pruned weight that is not exactly zero, wherever a shared or target copy lies."""
    state = model.policy.state_dict()
    places = {**{name: name for name in mask}, **anatomy.copies(model)}
    return [place for place, name in places.items() if name in mask and bool(state[place][~mask[name]].any())]


@every_case
def test_pruned_weights_moments_and_target_copies_are_exactly_zero_after_learning(case: Case) -> None:
    model = case.make(0)
    mask = sparse_mask(model)
    rt.hold(model, mask)
    start = tensors(model)
    model.learn(case.total)
    assert leaks(model, mask) == []
    named = dict(model.policy.named_parameters())
    for name in mask:
        assert not torch.equal(named[name][mask[name]], start[name][mask[name]]), f"kept weights of {name} never moved"
    dropped = {id(named[name]): ~mask[name] for name in mask}
    for optimizer in anatomy.optimizers(model).values():
        for p, state in optimizer.state.items():
            for key in ("exp_avg", "exp_avg_sq"):
                assert id(p) not in dropped or key not in state or not state[key][dropped[id(p)]].any()


@every_case
def test_holding_is_deterministic(case: Case) -> None:
    ends = []
    for _ in range(2):
        model = case.make(3)
        rt.hold(model, sparse_mask(model))
        ends.append(tensors(model.learn(case.total)))
    assert differing(*ends) == []


class Restless(torch.optim.SGD):
    """Moves every weight, gradient or not, as optimizers with noise do."""

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.data += 1e-3


def test_pruned_weights_are_zero_after_every_single_step_of_any_optimizer() -> None:
    model = PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=4, policy_kwargs=small(optimizer_class=Restless))
    mask = sparse_mask(model)
    rt.hold(model, mask)
    seen: list[list[str]] = []
    model.policy.optimizer.register_step_post_hook(lambda *_: seen.append(leaks(model, mask)))
    model.learn(16)
    assert seen == [[]] * 40


def test_moments_gathered_before_the_mask_are_cleared() -> None:
    model = BY_NAME["sac"].make(0).learn(48)
    mask = sparse_mask(model)
    rt.hold(model, mask)
    named = dict(model.policy.named_parameters())
    states = [o.state for o in anatomy.optimizers(model).values()]
    for name in mask:
        (state,) = [s[named[name]] for s in states if named[name] in s]
        assert not state["exp_avg"][~mask[name]].any()
        assert state["exp_avg"][mask[name]].any()


class ByHand(A2C):
    """A2C that masks gradients in so many words: the reference."""

    mask: rt.Mask

    def train(self) -> None:
        policy = self.policy
        for data in self.rollout_buffer.get(batch_size=None):
            values, log_prob, _ = policy.evaluate_actions(data.observations, data.actions.long().flatten())
            loss = -(data.advantages * log_prob).mean()
            loss = loss + self.vf_coef * torch.nn.functional.mse_loss(data.returns, values.flatten())
            policy.optimizer.zero_grad()
            loss.backward()
            named = dict(policy.named_parameters())
            for name, kept in self.mask.items():
                named[name].grad *= kept  # type: ignore[operator]
            torch.nn.utils.clip_grad_norm_(policy.parameters(), self.max_grad_norm)
            policy.optimizer.step()


def sgd(algorithm: type[A2C]) -> A2C:
    kwargs = {"net_arch": [8, 8], "optimizer_class": torch.optim.SGD}
    return algorithm("MlpPolicy", cartpole(), n_steps=16, max_grad_norm=0.01, seed=0, policy_kwargs=kwargs)


def test_norm_clipping_sees_kept_weights_only() -> None:
    held, reference, dense = sgd(A2C), sgd(ByHand), sgd(A2C)
    mask = sparse_mask(held)
    rt.hold(held, mask)
    assert isinstance(reference, ByHand)
    reference.mask = mask
    for model in (reference, dense):
        model.policy.load_state_dict(held.policy.state_dict())
    start = tensors(held)
    for model in (held, reference, dense):
        set_random_seed(0)
        model.learn(16)
    assert differing(tensors(held), tensors(reference)) == []
    # Clipping was at work: the kept weights moved by exactly learning rate x norm, which pruned gradients would share.
    kept = {name: mask[name] if name in mask else torch.ones_like(p, dtype=torch.bool) for name, p in start.items()}

    def moved(model: A2C) -> float:
        end = tensors(model)
        return float(sum(((end[n] - start[n])[kept[n]] ** 2).sum() for n in start) ** 0.5)

    assert moved(held) == pytest.approx(7e-4 * 0.01, rel=1e-2)
    assert moved(dense) < 0.999 * moved(held)


def test_a_full_mask_changes_nothing() -> None:
    plain = BY_NAME["ppo"].make(0).learn(96)
    held = BY_NAME["ppo"].make(0)
    rt.hold(held, rt.Mask.dense(held))
    assert differing(tensors(held.learn(96)), tensors(plain)) == []


def test_remove_gives_the_agent_back() -> None:
    model = BY_NAME["sac"].make(0)
    mask = sparse_mask(model)
    held = rt.hold(model, mask)
    assert type(model) is not type(BY_NAME["sac"].make(0))
    assert held.remove() is model
    assert type(model) is type(BY_NAME["sac"].make(0))
    assert held_mask(model) is None
    assert leaks(model, mask) == []
    model.learn(96)
    named = dict(model.policy.named_parameters())
    assert all(named[name][~mask[name]].any() for name in mask), "hooks were left behind"


def test_holding_twice_replaces_the_mask() -> None:
    model = BY_NAME["ppo"].make(0)
    first, second = sparse_mask(model, 0), sparse_mask(model, 1)
    earlier = rt.hold(model, first)
    rt.hold(model, second)
    assert held_mask(model) == second
    model.learn(96)
    assert leaks(model, second) == []
    named = dict(model.policy.named_parameters())
    assert any(named[name][second[name] & ~first[name]].any() for name in first), "the first mask still holds"
    earlier.remove()
    assert held_mask(model) == second


def test_a_mask_that_does_not_fit_leaves_the_earlier_hold_in_place() -> None:
    model = BY_NAME["ppo"].make(0)
    mask = sparse_mask(model)
    rt.hold(model, mask)
    with pytest.raises(ValueError, match="another architecture"):
        rt.hold(model, sparse_mask(BY_NAME["dqn"].make(0)))
    model.learn(32)
    assert held_mask(model) == mask
    assert leaks(model, mask) == []


def test_masks_of_another_architecture_are_refused() -> None:
    model = BY_NAME["ppo"].make(0)
    with pytest.raises(ValueError, match=r"'q_net.q_net.0.weight', which this policy lacks"):
        rt.hold(model, sparse_mask(BY_NAME["dqn"].make(0)))
    wide = PPO("MlpPolicy", cartpole(), policy_kwargs={"net_arch": [9, 8]})
    with pytest.raises(ValueError, match=r"has shape \(9, 4\), the policy's \(8, 4\)"):
        rt.hold(model, sparse_mask(wide))
    with pytest.raises(ValueError, match=r"no optimizer trains 'q_net_target.q_net.0.weight'"):
        rt.hold(BY_NAME["dqn"].make(0), rt.Mask({"q_net_target.q_net.0.weight": torch.ones(8, 4, dtype=torch.bool)}))


def test_set_parameters_and_load_keep_the_mask_where_they_should() -> None:
    model, other = BY_NAME["sac"].make(0), BY_NAME["sac"].make(1)
    mask = sparse_mask(model)
    rt.hold(model, mask)
    model.set_parameters(other.get_parameters())
    assert leaks(model, mask) == []
    named = dict(other.policy.named_parameters())
    name = next(iter(mask))
    assert torch.equal(dict(model.policy.named_parameters())[name], named[name] * mask[name])


def test_loading_through_a_held_agent_gives_a_plain_one(tmp_path: Path) -> None:
    model = BY_NAME["ppo"].make(0)
    rt.hold(model, sparse_mask(model))
    model.save(tmp_path / "agent.zip")
    loaded = type(model).load(tmp_path / "agent.zip")
    assert type(loaded) is PPO
    assert differing(tensors(loaded), tensors(model)) == []


class Spill(BaseCallback):
    """Writes a pruned weight behind the mask's back, after the last update."""

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        dict(self.model.policy.named_parameters())[self.parameter].data += 1.0

    parameter = "mlp_extractor.policy_net.2.weight"


def test_a_leak_is_an_error_that_names_the_layer() -> None:
    model = BY_NAME["ppo"].make(0)
    rt.hold(model, sparse_mask(model))
    with pytest.raises(rt.LeakError, match=r"mlp_extractor.policy_net.2.weight are no longer zero .* this PPO"):
        model.learn(16, callback=Spill())


@pytest.mark.parametrize("again", [lambda model: model._setup_model(), lambda model: setattr(model, "policy", other())])
def test_a_policy_that_was_built_anew_is_held_no_longer(again: Callable[[Any], object], tmp_path: Path) -> None:
    model = BY_NAME["ppo"].make(0)
    rt.hold(model, sparse_mask(model))
    again(model)
    told = r"weight of this PPO is no longer the tensor that was held: .* hold the mask again"
    with pytest.raises(rt.LeakError, match=told):
        model.save(tmp_path / "agent")
    assert not list(tmp_path.iterdir())
    with pytest.raises(rt.LeakError, match=told):
        model.learn(16)
    rt.hold(model, sparse_mask(model)).check()


def other() -> Any:
    return BY_NAME["ppo"].make(1).policy


def test_a_held_agent_can_be_forgotten() -> None:
    model = BY_NAME["ppo"].make(0)
    held = rt.hold(model, sparse_mask(model))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None, "the hold keeps its agent, and with it a replay buffer, alive"
    with pytest.raises(ReferenceError, match="is gone"):
        held.remove()


def test_a_copy_without_hooks_does_not_train_in_silence() -> None:
    model = BY_NAME["ppo"].make(0)
    rt.hold(model, sparse_mask(model))
    with pytest.raises(rt.LeakError, match="this PPO is a copy of a held agent, without hooks; hold the mask again"):
        copy.deepcopy(model).learn(16)


STOCK = """
import sys
import numpy as np
import sb3_contrib, stable_baselines3
folder = sys.argv[1]
for line in open(folder + "/agents.txt"):
    name, algorithm = line.split()
    cls = getattr(stable_baselines3, algorithm, None) or getattr(sb3_contrib, algorithm)
    model = cls.load(f"{folder}/{name}.zip")
    observations = np.load(f"{folder}/{name}.observations.npz")
    observations = observations["only"] if "only" in observations else dict(observations)
    actions, _ = model.predict(observations, deterministic=True)
    assert (actions == np.load(f"{folder}/{name}.actions.npy")).all(), name
assert not any(module.startswith("rl_tickets") for module in sys.modules)
"""


def test_saved_agents_load_in_stock_sb3_and_predict_the_same(tmp_path: Path) -> None:
    lines = []
    for case in CASES:
        if not case.stock or case.name == "dqn_her":  # SB3 loads a HER agent only with its environment.
            continue
        model = case.make(0)
        rt.hold(model, sparse_mask(model))
        model.learn(case.total).save(tmp_path / f"{case.name}.zip")
        rng = np.random.default_rng(0)
        seen = model._last_obs
        assert seen is not None
        parts = seen if isinstance(seen, dict) else {"only": seen}
        parts = {key: (rng.random(part.shape) * 3).astype(part.dtype) for key, part in parts.items()}
        actions, _ = model.predict(parts if isinstance(seen, dict) else parts["only"], deterministic=True)
        np.savez(tmp_path / f"{case.name}.observations.npz", **parts)  # type: ignore[arg-type]
        np.save(tmp_path / f"{case.name}.actions.npy", actions)
        lines.append(f"{case.name} {type(model).__name__}\n")
    (tmp_path / "agents.txt").write_text("".join(lines))
    done = subprocess.run([sys.executable, "-c", STOCK, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Could not deserialize" not in done.stderr


def test_frozen_weights_are_none_to_prune() -> None:
    model = PPO("MlpPolicy", cartpole(), policy_kwargs=small(), n_steps=16, batch_size=16, device="cpu")
    everything = rt.Mask.dense(model)
    model.policy.mlp_extractor.policy_net.requires_grad_(False)
    left = rt.Mask.dense(model)
    assert {*everything} - {*left} == {name for name in everything if "policy_net" in name} != set()
    rt.hold(model, left)
    with pytest.raises(
        ValueError, match=r"policy_net\.0\.weight' is frozen \(requires_grad=False\), so there is nothing"
    ):
        rt.hold(model, everything)
