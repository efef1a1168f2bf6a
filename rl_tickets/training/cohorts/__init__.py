"""Cohorts: many SB3 agents of one shape trained in lock-step, their weights stacked along a member axis."""
