"""`make timeline`: a run's ledger for people, as a trace that Perfetto opens and as a page that any browser opens."""
