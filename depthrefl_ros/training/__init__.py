"""Data, losses, training, evaluation and rendered scenes."""
