"""What the pages are put together from: a room for each page, over jobs, over what all of them share."""
