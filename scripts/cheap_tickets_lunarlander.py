"""How early a ticket can be drawn, on LunarLander-v3 at half of rl-zoo's budget, and what that saves."""

from dataclasses import replace

from lunarlander import experiment as lunarlander
from measures.cheap_tickets import study

if __name__ == "__main__":
    # Eighths of whole rollouts.
    study(
        replace(lunarlander, total_timesteps=524_288),
        "cheap_tickets_lunarlander",
        "Cheap tickets on LunarLander",
        thresholds=(0.1, 0.2, 0.5),
        seeds=10,
        extra="box2d",
    )
