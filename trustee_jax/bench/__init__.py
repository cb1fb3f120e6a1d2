"""How fast a run's engine, learner and step are, and how fast the machine would let them be."""
