"""The node's API on one port: JSON-RPC over HTTP and WebSocket, binary batches, health, metrics."""
