"""Compiled modules: thin faces of the C code under ext/. Use them through cherrydag.crypto and its kin."""
