"""Searches: generators of training requests, and the controls that tell what made a ticket win."""
