"""A poll of a class: phones answer on an address of their own, the presenter sees how many gave which answer."""
