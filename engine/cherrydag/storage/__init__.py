"""Where vertices and commits are kept."""
