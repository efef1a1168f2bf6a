"""Requests, what comes of them, and the trainers that train them: plain SB3, or many agents in lock-step."""
