"""`make cov`: what a regression has reached, of the RTL's lines, branches and toggles and of the functional points."""
