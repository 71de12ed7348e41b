"""`cordboard up`: everything on this machine, started, watched and stopped together."""
