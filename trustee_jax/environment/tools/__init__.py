"""What answers the calls of tools: the simulator, functions, live servers."""
