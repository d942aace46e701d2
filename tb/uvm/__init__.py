"""The verification environment: agents, sequences, a scoreboard on the reference NIC, coverage, random whole-system tests."""
