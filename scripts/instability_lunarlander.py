"""Whether tickets match where they are stable, on LunarLander-v3 at its whole budget.

At a half of the weights tickets are typical of dense, at a sixteenth they are not.
"""

from dataclasses import replace

from lunarlander import experiment as lunarlander
from measures.instability import REINIT, copied, study

if __name__ == "__main__":
    # Whole rollouts, of which a budget of a million steps would be no multiple.
    study(
        copied(
            replace(lunarlander, total_timesteps=983_040),
            steps=(0, 98_304, 491_520),
            densities=(1.0, 0.5, 0.0625),
            tickets_at=(0,),
            controls=REINIT,
        ),
        "instability_lunarlander",
        "PPO on LunarLander-v3",
        seeds=10,
        extra="box2d",
    )
