"""TensorBoard: the event file of a run, and the server that shows an experiment."""
