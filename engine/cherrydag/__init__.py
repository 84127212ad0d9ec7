"""cherrydag: a DAG-plus-main-chain ledger engine."""

__version__ = "0.1.0"
