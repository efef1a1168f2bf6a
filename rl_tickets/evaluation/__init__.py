"""Returns of a policy, and statistics over training seeds."""
