"""All that knows Stable-Baselines3's insides: prunable weights, holding a mask, training state, rebuilding."""
