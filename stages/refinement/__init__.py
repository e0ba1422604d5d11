"""Refine evidence: recipes, networks that learn on the way, rounds of self-training."""
