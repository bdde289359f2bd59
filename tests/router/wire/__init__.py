"""Random answers on the wire of a tier, what each of them means, and strict readers of what a caller gets."""
