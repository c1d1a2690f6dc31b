"""What is read: texts, question sets, the starter pack."""
