"""Lottery tickets of DQN on CartPole-v1: rl-zoo's hyperparameters and budget, 2x64 in place of its 2x256.

rl-zoo's benchmark has 500. The contrast that is tested: IMP's tickets against the same masks over re-initialised
weights, mean over the densities that have controls.
"""

from cartpole import make_env
from stable_baselines3 import DQN

import rl_tickets as rt


def make_model(seed: int, width: int = 64) -> DQN:
    return DQN(
        "MlpPolicy",
        make_env(),
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1_000,
        gamma=0.99,
        target_update_interval=10,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=0.16,
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )


DENSITIES = rt.geometric(keep=0.5, levels=7)
COMPARED = DENSITIES[4:]

experiment = rt.Experiment(
    name="cartpole_dqn",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=50_000,
    densities=DENSITIES,
    seeds=40,
    dense_seeds=200,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=COMPARED),
        "permuted_weights": rt.Control(rt.permuted_weights, at=COMPARED),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=COMPARED),
        "small_dense": rt.SmallDense(make_model, at=COMPARED),
    },
    segment=25_600,
    input_names=("Cart Position", "Cart Velocity", "Pole Angle", "Pole Angular Velocity"),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
