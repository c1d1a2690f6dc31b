"""Parts of the pages: a package for each page, on top of jobs, on top of the parts that all of them
share.
"""
