"""What you do with a trained model: predict, evaluate, explain, draw."""
