"""`cherrydag doctor`: everything a node needs, looked at before and while it runs."""
