"""On-policy agents (PPO, A2C) in lock-step: one stacked rollout, then one stacked update."""
