"""One thin command-line module per rule, of the rule's name: parse, call the library, write the outputs."""
