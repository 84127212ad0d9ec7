"""Whole networks of production nodes in virtual time, and what tries to break them. A seed decides all."""
