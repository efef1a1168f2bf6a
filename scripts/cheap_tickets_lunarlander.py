"""How early a ticket can be drawn, on LunarLander-v3: when masks settle, and what early-bird at every level saves."""

from dataclasses import replace

from lunarlander import experiment as lunarlander
from measures.cheap_tickets import study

if __name__ == "__main__":
    # Eighths of whole rollouts.
    study(
        replace(lunarlander, total_timesteps=1_048_576),
        "cheap_tickets_lunarlander",
        "Cheap tickets on LunarLander",
        extra="box2d",
    )
