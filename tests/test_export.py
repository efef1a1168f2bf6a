"""Exported policies do what SB3's `predict` does, on what environments give, or are not written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnx
import pytest
import torch
from agents_matrix import BY_NAME, Image, cartpole, pendulum, small, vec
from gymnasium import spaces
from safetensors import safe_open
from safetensors.numpy import save_file
from shrinking_cases import Own
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)
from tiny import PPO_EXPERIMENT, make_ppo
from torch import nn

import rl_tickets as rt
from rl_tickets.agents.incoming import incoming
from rl_tickets.deploy.exporting import _demand_same
from rl_tickets.deploy.numpy_policy import BLOCK, MANY_ROWS, NumpyPolicy
from rl_tickets.deploy.onnx_writing import read_onnx
from rl_tickets.lab.commands import main

Play = Callable[[Any], Any]
KINDS = (".safetensors", ".onnx")
every_kind = pytest.mark.parametrize("kind", KINDS)
SOURCE = Path(rt.__file__).parent / "deploy" / "numpy_policy.py"


def play_of(path: Path) -> Play:
    return read_onnx(path) if path.suffix == ".onnx" else lambda seen: NumpyPolicy(path).predict(seen)[0]


def ppo(env: Any, **more: Any) -> PPO:
    settings = {"n_steps": 16, "batch_size": 16, "seed": 0, "device": "cpu"}
    return PPO("MlpPolicy", env, policy_kwargs=small(**more), **settings)


def dense_ticket() -> rt.Ticket:
    model = make_ppo(0)
    return rt.Ticket(rt.Mask.dense(model), model.policy.state_dict())


class Still(gym.Env[Any, Any]):
    """An environment of any two spaces, in which nothing happens."""

    def __init__(self, seen: spaces.Space[Any], done: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = seen, done

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, True, {}


class ChannelsLast(gym.ObservationWrapper[Any, Any, Any]):
    """Images as most environments give them."""

    def __init__(self) -> None:
        super().__init__(Image())
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def observation(self, observation: Any) -> Any:
        return np.moveaxis(observation, 0, -1)


# --- every agent -----------------------------------------------------------------------------------------


NAMES = ("ppo", "dqn", "qrdqn", "sac", "td3", "tqc", "sac_sde", "ppo_sde_normalized")


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, ".safetensors") for name in NAMES), *((name, ".onnx") for name in NAMES[2::2])]
)
def test_a_trained_policy_plays_what_predict_plays_from_what_the_environment_gives(
    name: str, kind: str, tmp_path: Path
) -> None:
    model = BY_NAME[name].make(0).learn(48)
    play = play_of(rt.export(model, tmp_path / f"policy{kind}", states=200))
    env: Any = gym.make(model.get_env().get_attr("spec")[0].id)  # type: ignore[union-attr]
    observation, _ = env.reset(seed=1)
    done = False
    normalize = model.get_vec_normalize_env()
    for _ in range(20):
        seen = observation if normalize is None else normalize.normalize_obs(observation)
        action, _ = model.predict(seen, deterministic=True)
        said = play(observation[None])[0]
        np.testing.assert_allclose(said, action, atol=1e-5)
        assert env.action_space.contains(np.asarray(said, env.action_space.dtype))
        if done:
            break
        observation, _, done, *_ = env.step(action)


@pytest.mark.parametrize("name", ["crossq", "ppo_images_apart"])
def test_batch_renormalisation_and_convolutions_are_in_the_graph(name: str, tmp_path: Path) -> None:
    model = BY_NAME[name].make(0).learn(48)
    rt.export(model, tmp_path / "policy.onnx", states=50)
    with pytest.raises(rt.WiringError, match=r"is not among what a numpy policy does \(Tanh, .*\); export it to .onnx"):
        rt.export(model, tmp_path / "policy.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        (spaces.Discrete(5), spaces.Discrete(3)),
        (spaces.MultiDiscrete([2, 4]), spaces.MultiDiscrete([3, 2])),
        (spaces.MultiBinary(4), spaces.MultiBinary(3)),
        (spaces.Box(-1, 1, (2, 3), np.float64), spaces.Box(np.array([-1, 0]), np.array([2, 5]), (2,), np.float64)),
    ],
    ids=["discrete", "multi_discrete", "multi_binary", "box_float64"],
)
def test_every_kind_of_space(seen: spaces.Space[Any], done: spaces.Space[Any], tmp_path: Path) -> None:
    model = ppo(Still(seen, done)).learn(16)
    for kind in KINDS:
        rt.export(model, tmp_path / f"policy{kind}", states=100)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Tanh])
def test_activations_of_numpy(activation: type[nn.Module], tmp_path: Path) -> None:
    model = SAC("MlpPolicy", pendulum(), policy_kwargs=small(activation_fn=activation), buffer_size=10, device="cpu")
    rt.export(model, tmp_path / "policy.safetensors", states=200)


# --- between environment and policy ----------------------------------------------------------------------


@every_kind
def test_normalisation_is_inside_with_means_far_from_zero(kind: str, tmp_path: Path) -> None:
    env = VecNormalize(VecCheckNan(pendulum()), clip_obs=2.0)
    model = ppo(env)
    env.obs_rms.mean[:], env.obs_rms.var[:] = [1e4, -3.0, 0.5], [1e-2, 4.0, 1e-6]  # type: ignore[union-attr]
    play = play_of(rt.export(model, tmp_path / f"policy{kind}", states=100))
    raw = np.array([[1e4 + 0.25, -2.0, 0.5], [1e4 - 0.125, 9.0, 0.501]], dtype=np.float32)
    expected, _ = model.predict(env.normalize_obs(raw), deterministic=True)
    np.testing.assert_allclose(play(raw), expected, atol=1e-5)
    unlike, _ = model.predict(raw, deterministic=True)
    assert np.abs(unlike - expected).max() > 1e-3, "there is a normalisation to be lost"


def test_actions_are_clipped_or_unscaled_to_the_space(tmp_path: Path) -> None:
    model = ppo(pendulum())
    model.policy.action_net.bias.data[:] = 7.0  # type: ignore[union-attr, operator]
    for kind in KINDS:
        play = play_of(rt.export(model, tmp_path / f"clip{kind}", states=50))
        assert float(play(np.zeros((1, 3), np.float32))[0, 0]) == 2.0
    sac = SAC("MlpPolicy", pendulum(), policy_kwargs=small(), buffer_size=10, device="cpu")
    sac.policy.actor.mu.weight.data[:], sac.policy.actor.mu.bias.data[:] = 0.0, 0.5  # type: ignore[union-attr]
    for kind in KINDS:
        play = play_of(rt.export(sac, tmp_path / f"unscale{kind}", states=50))
        assert float(play(np.zeros((1, 3), np.float32))[0, 0]) == pytest.approx(2 * np.tanh(0.5), abs=1e-6)


@pytest.mark.parametrize("apart", [False, True])
def test_images_come_as_the_environment_gives_them(apart: bool, tmp_path: Path) -> None:
    env = vec(ChannelsLast)
    kwargs = {"features_extractor_kwargs": {"features_dim": 16}}
    model = PPO("CnnPolicy", env, policy_kwargs=kwargs, n_steps=8, batch_size=8, seed=0, device="cpu").learn(8)
    if apart:  # Loaded alone it knows no environment, and is given what its policy sees.
        model.save(tmp_path / "agent")
        model = PPO.load(tmp_path / "agent", device="cpu")
    play = play_of(rt.export(model, tmp_path / "policy.onnx", states=30))
    image = np.random.default_rng(0).integers(0, 255, (3, 36, 36, 1)).astype(np.uint8)
    expected, _ = model.predict(np.moveaxis(image, -1, 1), deterministic=True)
    assert play(np.moveaxis(image, -1, 1) if apart else image).tolist() == expected.tolist()


def test_what_comes_in_can_be_turned_back() -> None:
    model = ppo(VecNormalize(pendulum()))
    model.learn(32)
    way, raw = incoming(model), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(way.see(raw), model.get_vec_normalize_env().normalize_obs(raw))  # type: ignore[union-attr]
    np.testing.assert_allclose(way.raw(way.see(raw)), raw, rtol=1e-4)


# --- the files -------------------------------------------------------------------------------------------


def test_a_numpy_policy_is_played_without_torch_by_a_copied_file(tmp_path: Path) -> None:
    model = ppo(pendulum(normalize=True)).learn(32)
    path = rt.export(model, tmp_path / "policy.safetensors", states=50)
    (tmp_path / "numpy_policy.py").write_bytes(SOURCE.read_bytes())
    code = (
        "import sys\n"
        "for name in ('torch', 'stable_baselines3', 'gymnasium', 'rl_tickets'): sys.modules[name] = None\n"
        "from numpy_policy import NumpyPolicy\n"
        "print(float(NumpyPolicy('policy.safetensors').predict([0.5, -0.5, 1.0])[0][0]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = NumpyPolicy(path).predict([0.5, -0.5, 1.0])[0]
    assert expected.shape == (1,)
    assert float(ran.stdout) == float(expected[0])


def test_a_sparse_layer_takes_six_bytes_a_weight_and_plays_the_same_in_any_batch(tmp_path: Path) -> None:
    model = ppo(pendulum(), net_arch=[128, 128])
    sizes, kept = {}, {}
    for density in (0.1, 0.05):
        generator = torch.Generator().manual_seed(0)
        bits = {n: torch.rand(b.shape, generator=generator) < density for n, b in rt.Mask.dense(model).items()}
        kept[density] = sum(int(part.sum()) for name, part in bits.items() if "policy_net" in name)
        rt.hold(model, rt.Mask(bits))
        sizes[density] = rt.export(model, tmp_path / f"{density}.safetensors", states=50).stat().st_size
    assert sizes[0.1] - sizes[0.05] == pytest.approx(6 * (kept[0.1] - kept[0.05]), rel=0.05)
    policy = NumpyPolicy(tmp_path / "0.05.safetensors")
    raw = np.random.default_rng(0).normal(size=(BLOCK + MANY_ROWS, 3)).astype(np.float32)
    said = policy.predict(raw)[0]
    for rows in (slice(5), slice(1), slice(BLOCK, None), slice(-3, None)):
        np.testing.assert_allclose(said[rows], policy.predict(raw[rows])[0], atol=1e-6)


def test_a_step_that_a_copied_player_does_not_know_is_named(tmp_path: Path) -> None:
    path = rt.export(make_ppo(0), tmp_path / "policy.safetensors", states=20)
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["policy"])
    about["steps"].insert(0, {"do": "dance"})
    save_file(arrays, path, metadata={"policy": json.dumps(about)})
    with pytest.raises(ValueError, match="does not know the step 'dance': copy a newer"):
        NumpyPolicy(path)


@every_kind
def test_the_same_agent_gives_the_same_bytes_that_name_no_path_of_this_machine(kind: str, tmp_path: Path) -> None:
    model = make_ppo(0)
    first, again = (rt.export(model, tmp_path / f"{name}{kind}", states=20).read_bytes() for name in ("a", "b"))
    assert first == again
    assert b"site-packages" not in first
    assert str(Path(rt.__file__).parent).encode() not in first


def test_the_graph_has_a_batch_of_any_size(tmp_path: Path) -> None:
    graph = onnx.load(rt.export(make_ppo(0), tmp_path / "policy.onnx", states=20)).graph
    assert [part.name for part in (*graph.input, *graph.output)] == ["observation", "action"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    play = read_onnx(tmp_path / "policy.onnx")
    assert [play(np.zeros((rows, 4), np.float32)).shape for rows in (1, 7)] == [(1,), (7,)]


def test_a_shrunk_agent_is_exported_smaller(tmp_path: Path) -> None:
    model = ppo(cartpole(), net_arch=[64, 64])
    with torch.no_grad():
        model.policy.mlp_extractor.policy_net[0].weight[:48] = 0  # type: ignore[union-attr, operator, index]
    big = rt.export(model, tmp_path / "big.safetensors", states=100)
    little = rt.export(rt.shrink(model, states=100), tmp_path / "little.safetensors", states=100)
    assert little.stat().st_size < big.stat().st_size / 2


def test_numpy_policies_are_evaluated_as_agents_are(tmp_path: Path) -> None:
    model = ppo(cartpole()).learn(64)
    policy = NumpyPolicy(rt.export(model, tmp_path / "policy.safetensors", states=50))
    ours, theirs = (rt.evaluate(who, lambda: gym.make("CartPole-v1"), episodes=4, seed=5) for who in (policy, model))
    assert ours.tolist() == theirs.tolist()


class Clamped(FlattenExtractor):
    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations).clamp(-5, 5)


def test_what_a_function_does_far_from_ordinary_observations_is_seen(tmp_path: Path) -> None:
    with pytest.raises(rt.WiringError, match="more than pass observations from module to module"):
        rt.export(ppo(cartpole(), features_extractor_class=Clamped), tmp_path / "policy.safetensors")


@every_kind
def test_statistics_outside_of_the_transposition_are_those_of_the_right_pixel(kind: str, tmp_path: Path) -> None:
    """SB3 would transpose outside of VecNormalize; users wrap in this order too."""
    colours, actions = spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Box(-1, 1, (2,))
    env = VecNormalize(VecTransposeImage(vec(lambda: Still(colours, actions))))
    model = ppo(env, normalize_images=False).learn(16)
    raw = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    wanted = model.predict(env.normalize_obs(np.moveaxis(raw, -1, 1)), deterministic=True)[0]
    said = play_of(rt.export(model, tmp_path / f"policy{kind}", states=20))(raw)
    np.testing.assert_allclose(said, wanted, atol=1e-5)


def test_one_normalisation_around_another_is_refused(tmp_path: Path) -> None:
    model = ppo(VecNormalize(VecNormalize(vec(lambda: gym.make("CartPole-v1")))))
    with pytest.raises(rt.WiringError, match="two VecNormalize"):
        rt.export(model, tmp_path / "policy.safetensors")


# --- refused ---------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BY_NAME["recurrent_ppo"].make(0), "RecurrentActorCriticPolicy has a recurrent state, which exported"),
        (lambda: BY_NAME["maskable_ppo"].make(0), "MaskableActorCriticPolicy takes action masks, which exported"),
        (lambda: BY_NAME["ppo_dict"].make(0), r"observations of several parts \(Dict\) have no one array"),
        (
            lambda: ppo(VecFrameStack(VecNormalize(pendulum()), 2)),
            "VecNormalize comes before VecFrameStack, which changes observations in a way of its own",
        ),
    ],
    ids=["recurrent", "masks", "dict", "stacked_after_normalising"],
)
def test_what_no_file_can_hold_is_refused(
    make: Callable[[], BaseAlgorithm], sentence: str, kind: str, tmp_path: Path
) -> None:
    with pytest.raises(rt.WiringError, match=sentence):
        rt.export(make(), tmp_path / f"policy{kind}")
    assert not list(tmp_path.iterdir())


def test_what_no_module_shows_has_no_form_for_numpy_but_one_as_onnx(tmp_path: Path) -> None:
    model = ppo(pendulum(), features_extractor_class=Own)
    rt.export(model, tmp_path / "policy.onnx", states=50)
    with pytest.raises(rt.WiringError, match="does more than pass observations from module to module"):
        rt.export(model, tmp_path / "policy.safetensors")


class Recurring(FlattenExtractor):
    """A module that answers more than a tensor."""

    def __init__(self, space: gym.spaces.Box) -> None:
        super().__init__(space)
        self.gru = nn.GRU(self.features_dim, self.features_dim, batch_first=True)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.gru(super().forward(observations)[:, None])[0][:, 0]
        return found


def test_a_module_that_answers_a_tuple_has_no_form_for_numpy(tmp_path: Path) -> None:
    with pytest.raises(rt.WiringError, match=r"so it has no form for numpy; export it to \.onnx"):
        rt.export(ppo(pendulum(), features_extractor_class=Recurring), tmp_path / "policy.safetensors")


def test_other_files_and_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'policy.pt' says no kind of file .*: \.onnx, \.safetensors"):
        rt.export(make_ppo(0), tmp_path / "policy.pt")
    with pytest.raises(TypeError, match="what is exported is an SB3 agent, not a Ticket"):
        rt.export(dense_ticket(), tmp_path / "policy.onnx")  # type: ignore[arg-type]


def test_a_file_that_plays_otherwise_is_found_out() -> None:
    model, other = ppo(pendulum()), ppo(pendulum())
    with torch.no_grad():
        other.policy.action_net.bias += 1e-3  # type: ignore[union-attr, operator]
    raw = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    _demand_same(model, lambda seen: model.predict(seen, deterministic=True)[0], raw)
    with pytest.raises(rt.EquivalenceError, match=r"the file's actions would differ by up to 0\.001"):
        _demand_same(model, lambda seen: other.predict(seen, deterministic=True)[0], raw)
    with pytest.raises(rt.EquivalenceError, match=r"actions have shape \(20,\) where SB3's have \(20, 1\)"):
        _demand_same(model, lambda seen: model.predict(seen, deterministic=True)[0][:, 0], raw)


def test_another_discrete_choice_passes_only_where_it_is_a_matter_of_rounding() -> None:
    model = ppo(cartpole())
    raw = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)

    def flipped(seen: Any) -> Any:
        return 1 - model.predict(seen, deterministic=True)[0]

    with pytest.raises(rt.EquivalenceError, match="what the file's actions are worth would differ"):
        _demand_same(model, flipped, raw)
    model.policy.action_net.weight.data.mul_(1e-5)  # type: ignore[union-attr, operator]
    _demand_same(model, flipped, raw)


# --- the command line ------------------------------------------------------------------------------------


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ppo(cartpole()).learn(16)
    model.save(tmp_path / "agent.zip")
    main(["export", str(tmp_path / "agent.zip"), str(tmp_path / "a.safetensors"), "--algorithm", "PPO", "--small"])
    out = capsys.readouterr().out
    assert out == f"{tmp_path / 'a.safetensors'}: {(tmp_path / 'a.safetensors').stat().st_size:,} bytes\n"
    seen = np.ones((3, 4), np.float32)
    expected = model.predict(seen, deterministic=True)[0].tolist()
    assert NumpyPolicy(tmp_path / "a.safetensors").predict(seen)[0].tolist() == expected


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    searches = {"imp": rt.IMP(criterion=rt.lamp)}
    experiment = replace(PPO_EXPERIMENT, searches=searches, densities=(1.0, 0.5), seeds=1, keep="all")
    rt.run(replace(experiment, trainer=rt.Plain()), jobs=1, out=out)
    return out / "tiny"


def test_tickets_and_final_weights_are_exported_with_the_script_that_makes_their_agent(
    results: Path, tmp_path: Path
) -> None:
    script = tmp_path / "mine.py"
    script.write_text("from tiny import PPO_EXPERIMENT as experiment\n")
    (ticket,) = results.glob("tickets/imp/seed-0/level-01.ticket")
    (weights,) = results.glob("weights/imp/seed-0/level-01.safetensors")
    for number, file in enumerate((ticket, weights)):
        main(["export", str(file), str(tmp_path / f"{number}.safetensors"), "--script", str(script)])
    before, after = (NumpyPolicy(tmp_path / f"{number}.safetensors") for number in range(2))
    planted = rt.Ticket.load(ticket).plant(make_ppo(0))
    seen = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    normal = planted.get_vec_normalize_env().normalize_obs(seen)  # type: ignore[union-attr]
    assert before.predict(seen)[0].tolist() == planted.predict(normal, deterministic=True)[0].tolist()
    with safe_open(str(tmp_path / "1.safetensors"), framework="numpy") as file:
        assert json.loads(file.metadata()["policy"])["steps"][0]["do"] == "normalize"
    assert before.predict(seen)[0].tolist() != after.predict(seen)[0].tolist()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["agent.zip"], "does not say which algorithm saved it; name it, as by --algorithm PPO"),
        (["agent.zip", "--algorithm", "Magic"], "neither SB3 nor sb3-contrib has an algorithm 'Magic'"),
        (["none.zip"], "there is no such file"),
        (["alone.ticket"], "has weights but no architecture, and lies in no results folder"),
    ],
    ids=["no_algorithm", "unknown", "no_file", "no_script"],
)
def test_what_the_command_needs_is_said(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    make_ppo(0).save("agent.zip")
    dense_ticket().save("alone.ticket")
    with pytest.raises(SystemExit) as ended:
        main(["export", arguments[0], "out.safetensors", *arguments[1:]])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not Path("out.safetensors").exists()


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install -c constraints.txt -e '\.\[export\]'"):
        rt.export(make_ppo(0), tmp_path / "policy.onnx")


def test_a_single_environment_counts_as_its_vectorised_self(tmp_path: Path) -> None:
    model = ppo(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    assert rt.export(model, tmp_path / "policy.safetensors", observations=np.zeros((2, 4)), states=20).exists()
