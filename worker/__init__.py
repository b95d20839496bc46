"""The back: from the queue to a live release."""
