"""A held agent that was saved: SB3's own `load` lets go of the mask, `rt.load` holds it again."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from agents_matrix import BY_NAME, cartpole, differing, pendulum, small, sparse_mask, tensors
from stable_baselines3 import DQN, PPO, SAC
from test_holding import leaks

import rl_tickets as rt
from rl_tickets.agents.loading import load


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Folder of a held agent's file, `agent.zip`."""
    model = BY_NAME["sac"].make(0)
    rt.hold(model, sparse_mask(model))
    model.learn(48).save(tmp_path / "agent.zip")
    return tmp_path


def mask() -> rt.Mask:
    return sparse_mask(BY_NAME["sac"].make(0))


def test_sb3_trains_pruned_weights_again_and_load_does_not(saved: Path) -> None:
    env = pendulum(normalize=True)
    regrown = SAC.load(saved / "agent.zip", env=env).learn(48)
    assert leaks(regrown, mask())
    model = load(SAC, saved / "agent.zip", mask(), env=env)
    assert isinstance(model, SAC)
    held = rt.hold_of(model)
    assert held is not None
    assert held.mask == mask()
    assert differing(tensors(model), tensors(SAC.load(saved / "agent.zip"))) == []
    assert leaks(model.learn(48), mask()) == []


def test_a_ticket_says_its_mask(saved: Path) -> None:
    ticket = rt.Ticket(mask(), BY_NAME["sac"].make(0).policy.state_dict())
    assert leaks(load(SAC, str(saved / "agent"), ticket, env=pendulum(normalize=True)).learn(48), mask()) == []


def test_what_was_trained_on_without_its_mask_is_refused(saved: Path) -> None:
    env = pendulum(normalize=True)
    SAC.load(saved / "agent.zip", env=env).learn(48).save(saved / "regrown.zip")
    with pytest.raises(rt.LeakError, match=r"\d+ weights of actor\.\S+ that the mask prunes are not zero in .*regrown"):
        load(SAC, saved / "regrown.zip", mask(), env=env)


def test_target_networks_are_looked_at_too(saved: Path) -> None:
    model = SAC.load(saved / "agent.zip")
    with torch.no_grad():
        model.critic_target.qf0[0].weight += 1
    model.save(saved / "target.zip")
    with pytest.raises(rt.LeakError, match=r"weights of critic_target\.qf0\.0\.weight that the mask prunes"):
        load(SAC, saved / "target.zip", mask())


def test_what_does_not_fit_is_named(saved: Path) -> None:
    with pytest.raises(ValueError, match="which this policy lacks: it is of another architecture"):
        load(SAC, saved / "agent.zip", sparse_mask(BY_NAME["ppo"].make(0)))
    with pytest.raises(TypeError, match=r"a mask must be an rt\.Mask, not a dict; make one with"):
        load(SAC, saved / "agent.zip", dict(mask()))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        load(SAC, saved / "nothing.zip", mask())


def test_save_writes_no_file_of_an_agent_that_leaks(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", cartpole(), policy_kwargs=small(), n_steps=16, batch_size=16, device="cpu")
    dense = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    rt.hold(model, sparse_mask(model))
    model.policy.load_state_dict(dense)
    before = tensors(model)
    with pytest.raises(rt.LeakError, match=r"no longer zero in this PPO: something wrote .* `policy.load_state_dict`"):
        model.save(tmp_path / "agent.zip")
    assert list(tmp_path.iterdir()) == []
    assert differing(tensors(model), before) == [], "nothing is put right in silence"
    rt.hold(model, sparse_mask(model))
    model.save(tmp_path / "agent.zip")
    assert leaks(PPO.load(tmp_path / "agent.zip"), sparse_mask(model)) == []


class Averaged(DQN):
    """Another copy of its network, outside the policy."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self.average = copy.deepcopy(self.policy.q_net)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, others = super()._get_torch_save_params()
        return [*names, "average"], others


def test_a_target_network_outside_the_policy_is_looked_at_too(tmp_path: Path) -> None:
    model = Averaged("MlpPolicy", cartpole(), policy_kwargs=small(), device="cpu")
    kept = sparse_mask(model)
    rt.hold(model, kept)
    model.save(tmp_path / "agent.zip")
    assert leaks(load(Averaged, tmp_path / "agent.zip", kept), kept) == []
    with torch.no_grad():
        model.average.q_net[0].weight += 1
    stored = Averaged.load(tmp_path / "agent.zip")
    stored.average.load_state_dict(model.average.state_dict())
    stored.save(tmp_path / "leaking.zip")
    with pytest.raises(rt.LeakError, match="weights of a target network that the mask prunes are not zero"):
        load(Averaged, tmp_path / "leaking.zip", kept)
