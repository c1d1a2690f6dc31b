"""What everything else is made of: requests, results, blocks, errors, progress, storage, statistics."""
