"""Acrobot in Python's floats is Gymnasium's, step by step."""

import importlib

import gymnasium as gym
import numpy as np
import pytest
from tiny import ROOT

EPISODES = 20


def test_every_step_is_gymnasiums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over episodes that swing up and end, and to the last bit but for what another libm rounds otherwise."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    quick = importlib.import_module("measures.quick_acrobot").QUICK
    theirs, ours = gym.make("Acrobot-v1"), gym.make(quick)
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    rng = np.random.default_rng(0)
    ends = []
    for episode in range(EPISODES):
        seen, _ = theirs.reset(seed=episode)
        np.testing.assert_array_equal(ours.reset(seed=episode)[0], seen)
        over = False
        while not over:
            swing = 0 if seen[5] < 0 else 2
            action = int(rng.choice([swing, swing, *range(3)]))
            ours.unwrapped.state = theirs.unwrapped.state.copy()
            seen, reward, terminated, truncated, _ = theirs.step(action)
            observed, *rest, _ = ours.step(action)
            assert rest == [reward, terminated, truncated]
            assert observed.dtype == seen.dtype
            np.testing.assert_allclose(observed, seen, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(ours.unwrapped.state, theirs.unwrapped.state, rtol=1e-12, atol=1e-12)
            over = terminated or truncated
        ends.append(terminated)
    assert sum(ends) > EPISODES / 2
