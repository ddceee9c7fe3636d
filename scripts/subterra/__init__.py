"""Subterra compiles an agent's procedure into the weights of a small language model."""

__version__ = "0.1.0"
