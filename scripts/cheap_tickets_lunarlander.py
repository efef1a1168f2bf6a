"""How early a ticket can be drawn by LAMP, on LunarLander-v3 at rl-zoo's budget, and what that saves."""

from dataclasses import replace

from lunarlander import experiment as lunarlander
from measures.cheap_tickets import study

import rl_tickets as rt

if __name__ == "__main__":
    # Eighths of whole rollouts.
    study(
        replace(lunarlander, total_timesteps=1_048_576),
        "cheap_tickets_lunarlander",
        "Cheap tickets on LunarLander",
        thresholds=(0.2, 0.4),
        criteria={"lamp": rt.lamp},
        seeds=10,
        extra="box2d",
    )
