"""Attacks on a live network: the rig, what is measured, and one module for each family of attacks."""
