"""The two-stage network: backbone (relative depth) and reflector (metric depth). Needs torch."""
