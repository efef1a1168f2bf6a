"""Masks, what scores weights, how they are pruned, and the ticket with its file."""
