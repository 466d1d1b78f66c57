"""What a forward pass and autograd's graph of it show: uses of parameters, rows of examples, values read."""
