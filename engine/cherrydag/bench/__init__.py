"""Measures a network as its clients see it: signed transfers at fixed moments, until they are final."""
