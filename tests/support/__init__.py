"""Parts that tests share: made-up results and models, a real dashboard and worker, and readers of a
visitor's page.
"""
