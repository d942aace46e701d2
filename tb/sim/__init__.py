"""`make sim`: guests replay a capture through the RTL NIC; the run proves what reached the wire."""
