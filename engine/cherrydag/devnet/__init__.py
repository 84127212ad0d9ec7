"""A network for trying things: real nodes on this machine, up in seconds, and gone without a trace."""
