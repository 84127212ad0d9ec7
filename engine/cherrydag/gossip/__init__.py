"""Between nodes, without sockets: messages, what to ask of whom, what to answer."""
