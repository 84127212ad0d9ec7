"""Committed order into state: accounts, modules, the state's commitment."""
