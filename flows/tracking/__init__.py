"""What trackers that teams have are told of a store: TensorBoard, MLflow, Weights & Biases."""
