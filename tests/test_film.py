"""A film shows both agents from the same seed, what they earn and how many weights they have."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agents_matrix import Steered
from PIL import Image
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, make_env, make_ppo

import rl_tickets as rt
from rl_tickets.deploy.filming import _act, _rendered
from rl_tickets.lab.commands import main
from rl_tickets.lab.filming import film_results

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        found = []
        for index in range(film.n_frames):
            film.seek(index)
            found.append(np.asarray(film.convert("RGB")).copy())
        return found


def test_agents_stand_side_by_side_and_start_alike(tmp_path: Path) -> None:
    agents = {"one": make_ppo(0), "other": make_ppo(1)}
    found = frames(rt.film(agents, make_env, tmp_path / "deep" / "film.gif", seed=3, seconds=0.2))
    assert found[0].shape == (276, 720, 3)
    left, right = found[0][36:, :360].astype(int), found[0][36:, 360:].astype(int)
    assert np.abs(left - right).mean() < 1, "the same seed"
    assert (found[0][:36, :360] != found[0][:36, 360:]).any(), "other captions"
    assert any((frame[36:] != found[0][36:]).any() for frame in found[1:]), "something moves"


def test_an_episode_is_filmed_to_its_end_and_earns_what_evaluation_says() -> None:
    model = make_ppo(0)
    pictures = list(_act(_rendered(make_env), model, "one", 7))
    assert len(pictures) == 1 + rt.evaluate(model, make_env, episodes=1, seed=7)[0]


def test_class_numbers_are_observed_too(tmp_path: Path) -> None:
    lake = partial(gym.make, "FrozenLake-v1")
    model = PPO("MlpPolicy", lake(), n_steps=16, batch_size=16, seed=0, device="cpu")
    assert frames(rt.film({"lake": model}, partial(lake, render_mode="rgb_array"), tmp_path / "lake.gif"))


def test_what_cannot_be_filmed_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'film.mp4' is no kind of film that is written: \.gif, \.webp"):
        rt.film({"one": make_ppo(0)}, make_env, tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="there is no agent to film"):
        rt.film({}, make_env, tmp_path / "film.gif")

    class Own(gym.Env[Any, Any]):
        observation_space, action_space = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)

    with pytest.raises(ValueError, match="an environment that Gymnasium did not make"):
        rt.film({"one": make_ppo(0)}, Own, tmp_path / "film.gif")
    with pytest.raises(
        ValueError, match=r"Steered wrapper does not inherit from .*, therefore, the wrapper cannot be recreated"
    ):
        rt.film({"one": make_ppo(0)}, lambda: Steered(make_env()), tmp_path / "film.gif")  # type: ignore[arg-type, return-value]
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    searches = {"imp": rt.IMP(criterion=rt.lamp)}
    experiment = replace(PPO_EXPERIMENT, searches=searches, densities=(1.0, 0.5), seeds=1, keep="all")
    rt.run(replace(experiment, trainer=rt.Plain()), jobs=1, out=out)
    return out / "tiny"


def test_film_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "mine.py"
    script.write_text("from tiny import PPO_EXPERIMENT as experiment\n")
    (ticket,) = results.glob("tickets/imp/seed-0/level-01.ticket")
    made = []
    for path in (results, ticket):
        out = tmp_path / f"{path.stem}.gif"
        main(["film", str(path), "--out", str(out), "--script", str(script), "--seconds", "0.1"])
        assert capsys.readouterr().out == f"{out}\n"
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_a_folder_without_weights_or_such_a_search_cannot_be_filmed(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no sparse agent of search 'magic'"):
        film_results(results, out=tmp_path / "film.gif", search="magic")
    with pytest.raises(ValueError, match="is no results folder and lies in none"):
        film_results(tmp_path, out=tmp_path / "film.gif")
