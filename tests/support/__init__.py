"""What tests share: made-up results and models, a real dashboard and worker, and what a visitor sees."""
