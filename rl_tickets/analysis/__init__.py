"""Why tickets win: analyses of trained agents, and the plans that train what they need."""
