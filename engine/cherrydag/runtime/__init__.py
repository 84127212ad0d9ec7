"""Hosts of the pure core: loops, threads and whatever touches the operating system."""
