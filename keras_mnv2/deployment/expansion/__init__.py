"""Inverted residual blocks whose expanded tensor is never whole in memory."""
