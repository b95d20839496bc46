"""The front: from GitHub to the queue, and from the bucket to the visitor."""
