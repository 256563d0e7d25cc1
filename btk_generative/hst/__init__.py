"""HST: the COSMOS catalogue, real stamps, PSFs and noise."""
