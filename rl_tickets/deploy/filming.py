"""A film of agents beside each other, each in the same environment from the same seed."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.evaluation.acting import Actor
from rl_tickets.training.observing import each

HEIGHT, CAPTION, FRAMES_PER_SECOND = 240, 36, 25
"""Of the picture of one agent, and of the lines above it, in pixels; browsers play no GIF faster."""


def film(
    agents: Mapping[str, BaseAlgorithm],
    make_env: Callable[[], Any],
    path: str | Path,
    *,
    seed: int = 0,
    seconds: float = 20.0,
) -> Path:
    """Films one greedy episode of every agent, side by side, with number of weights and return in the picture.

    Args:
        agents: what each is called -> the agent; its own VecNormalize is used.
        make_env: a fresh environment that Gymnasium registered, so that it can be made again to be rendered.
        path: .gif or .webp.
        seed: of every agent's environment.
        seconds: after which the film ends, in the environment's own time.

    Raises:
        ImportError: what the environment is drawn with is not installed; the extra is named.
        ValueError: the environment cannot be rendered, or another suffix.

    Example:
        rt.film({"dense": make_model(0), "sparse": model}, make_env, "beside.gif", seconds=0.2)
    """
    path = Path(path)
    if path.suffix not in (".gif", ".webp"):
        raise ValueError(f"{path.name!r} is no kind of film that is written: .gif, .webp")
    if not agents:
        raise ValueError("there is no agent to film")
    env = make_env()
    rate = float(env.metadata.get("render_fps") or FRAMES_PER_SECOND)
    env.close()
    every = max(1, round(rate / FRAMES_PER_SECOND))
    acts = [_act(_rendered(make_env), model, name, seed) for name, model in agents.items()]
    last: list[Any] = [None] * len(acts)
    frames = []
    for together in islice(zip_longest(*acts), 0, max(1, round(seconds * rate)), every):
        last = [new if new is not None else old for new, old in zip(together, last, strict=True)]
        frames.append(Image.fromarray(np.concatenate([np.asarray(picture) for picture in last], axis=1)))
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 * every / rate), loop=0)
    return path


def _rendered(make_env: Callable[[], Any]) -> gym.Env[Any, Any]:
    env = make_env()
    spec = getattr(env, "spec", None)
    if spec is None or not isinstance(env, gym.Env):
        raise ValueError(
            "make_env gives an environment that Gymnasium did not make, so it cannot be made to be rendered"
        )
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        raise ValueError(f"{spec.id} has no render mode 'rgb_array'")
    env.close()
    return gym.make(spec, render_mode="rgb_array")


def _act(env: gym.Env[Any, Any], model: BaseAlgorithm, name: str, seed: int) -> Iterator[Image.Image]:
    """Pictures of an episode, the first before its first step."""
    actor = Actor(model, env, draws=None)
    weights = sum(int(p.detach().count_nonzero()) for p in prunable_weights(model).values())
    observation, _ = env.reset(seed=seed)
    total, done, starts = 0.0, False, np.ones(1, dtype=bool)
    try:
        while True:
            yield _picture(env, [f"{name}: {weights:,} weights", f"return {total:,.0f}{', end' if done else ''}"])
            if done:
                return
            batch = each(lambda part: np.asarray(part)[None], observation)
            masks = np.asarray(env.get_wrapper_attr("action_masks")())[None] if actor.takes_masks else None
            observation, reward, terminated, truncated, _ = env.step(actor.act(batch, starts, masks)[0])
            total, done, starts = total + float(reward), terminated or truncated, np.zeros(1, dtype=bool)
    finally:
        env.close()


def _picture(env: gym.Env[Any, Any], lines: list[str]) -> Image.Image:
    try:
        drawn = np.asarray(env.render())
    except gym.error.DependencyNotInstalled as error:
        way_out = f"{error}; the extra that brings it: pip install -c constraints.txt -e '.[film]'"
        raise ImportError(way_out) from error
    picture = Image.fromarray(drawn).convert("RGB")
    picture = picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT))
    whole = Image.new("RGB", (picture.width, HEIGHT + CAPTION), "white")
    whole.paste(picture, (0, CAPTION))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(14)
    for index, line in enumerate(lines):
        draw.text((4, 1 + index * CAPTION // 2), line, fill="black", font=font)
    return whole
