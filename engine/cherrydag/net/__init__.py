"""Bytes between nodes: frames, connections as values of time and bytes, and sockets with TLS under them."""
