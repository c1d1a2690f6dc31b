"""What a cut costs in answers, in loss, in what is written."""
