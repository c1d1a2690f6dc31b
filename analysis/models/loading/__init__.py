"""Loading of models into memory: plan, configuration, tokenizer, weights and devices."""
