"""What one does with a trained model: predict, evaluate, explain, draw."""
