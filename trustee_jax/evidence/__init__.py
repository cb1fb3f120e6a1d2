"""Whether a run has taught anything: what a sceptic asks for, measured and said in words."""
