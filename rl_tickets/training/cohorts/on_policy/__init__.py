"""On-policy agents (PPO, A2C, MaskablePPO) in lock-step: one stacked rollout, then one stacked update."""
