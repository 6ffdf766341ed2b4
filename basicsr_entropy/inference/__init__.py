"""From photograph to photograph with a trained model."""
