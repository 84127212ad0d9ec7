"""What pages of docs/ take from the code and from runs: tables, the API's methods, drawings, plots."""
