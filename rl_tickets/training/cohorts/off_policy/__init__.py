"""Off-policy agents in lock-step: each with a replay buffer of its own, all with stacked forward passes and updates."""
