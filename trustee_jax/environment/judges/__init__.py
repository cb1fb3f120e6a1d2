"""What grades an episode: the model by parts, and rules that can only lower what it says."""
