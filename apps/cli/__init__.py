"""The command line, `zerobatch`: plain Python that talks to the public API only."""
