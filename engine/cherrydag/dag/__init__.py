"""The DAG above gc_round: `graph` holds it, `tips` selects parents, `pending` parks what is early."""
