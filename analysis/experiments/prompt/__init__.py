"""What happens to one prompt."""
