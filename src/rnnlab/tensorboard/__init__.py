"""What TensorBoard is told of a run, and the server that shows an experiment."""
