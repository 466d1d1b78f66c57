"""The model, the loss and the examples as they are given, and how a model is left as it was found."""
