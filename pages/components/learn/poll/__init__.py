"""A poll of a class: phones answer on a page of their own, and the answers are drawn at the reveal."""
