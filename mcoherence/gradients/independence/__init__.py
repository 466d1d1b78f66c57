"""Whether a forward pass keeps its examples apart, known from its operations and not from what they give.

Index letters: n examples of a batch.

In every tensor of a pass that holds something of the examples there is an axis along which they lie. An operation keeps
them apart if what it gives of an example depends on that example and on constants only, which for torch's own
operations follows from the axes that it works along. A pass whose operations all do so, and in which no value of an
example was read by Python, gives each example what it would give it beside any others of as many. If it does the same
with another number of examples, that number decides nothing either.
"""
