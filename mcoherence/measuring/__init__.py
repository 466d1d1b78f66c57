"""What is taken of a trained run at its checkpoints: losses, predictions, sums of gradients, difficulty of examples."""
