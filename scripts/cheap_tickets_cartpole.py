"""How early a ticket can be drawn, on CartPole-v1: when masks settle, and what early-bird at every level saves."""

from dataclasses import replace

from cartpole import experiment as cartpole
from measures.cheap_tickets import study

if __name__ == "__main__":
    study(
        replace(cartpole, total_timesteps=102_400),
        "cheap_tickets_cartpole",
        "Cheap tickets on CartPole",
    )
