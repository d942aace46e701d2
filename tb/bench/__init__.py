"""`make bench`: the figures of the simulation and of the NIC, beside what computation allows."""
