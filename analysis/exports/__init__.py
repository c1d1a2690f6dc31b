"""What is taken away: model folders, recipes, cards, reports."""
