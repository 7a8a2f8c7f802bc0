"""The int8 form of a result: QDQ nodes, and what they do to its output."""
