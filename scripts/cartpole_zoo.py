"""Lottery tickets of PPO on CartPole-v1 at rl-zoo's whole budget, where nearly every dense seed solves it.

The contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities.
"""

from dataclasses import replace

from cartpole import experiment as cartpole

import rl_tickets as rt

experiment = replace(
    cartpole,
    name="cartpole_zoo",
    total_timesteps=100_000,
    densities=rt.geometric(keep=0.5, levels=5),
    seeds=80,
    dense_seeds=200,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask),
        "permuted_weights": rt.Control(rt.permuted_weights),
        "permuted_mask": rt.Control(rt.permuted_mask),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=10_240)),
    },
)

if __name__ == "__main__":
    rt.main(experiment)
