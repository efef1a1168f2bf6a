"""What SB3's own callbacks cost in a cohort, against what they cost plainly."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env

from measures.cohorts import cohort_seconds, plain_seconds
from measures.rows import Row, row

MEMBERS, STEPS = 8, 16_384


def make_pendulum(seed: int) -> PPO:
    """Whose episodes are all as long: an evaluation costs the same whatever was learned."""
    return PPO("MlpPolicy", make_vec_env("Pendulum-v1", n_envs=8, seed=seed), seed=seed, device="cpu")


def evaluating_and_saving(folder: Path) -> BaseCallback:
    """Five episodes, and a file, every 2,048 environment steps."""
    evaluate = EvalCallback(make_vec_env("Pendulum-v1", seed=1_000), eval_freq=256, verbose=0)
    return CallbackList([evaluate, CheckpointCallback(save_freq=256, save_path=str(folder))])


def callbacks(pairs: int) -> Iterator[Row]:
    """Seconds that they add to each member, and to an agent trained alone."""
    plain = partial(plain_seconds, make_pendulum, STEPS)
    cohort = partial(cohort_seconds, make_pendulum, STEPS, MEMBERS)
    cohort()  # Compiled from here on.
    found = []
    with tempfile.TemporaryDirectory() as folder:

        def asked() -> BaseCallback:
            return evaluating_and_saving(Path(tempfile.mkdtemp(dir=folder)))

        for _ in range(pairs):
            found.append((plain(callback=asked) - plain(), cohort(callback=asked) - cohort()))
    name = f"EvalCallback and CheckpointCallback, PPO on Pendulum, {MEMBERS} members"
    yield row(f"{name}: seconds that they add to plain SB3", [added for added, _ in found])
    yield row(f"{name}: added in a cohort / added to plain SB3", [ours / theirs for theirs, ours in found], "<= 1")
