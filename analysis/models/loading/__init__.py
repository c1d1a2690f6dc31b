"""From a spec to a model in memory: plan, configuration, tokenizer, weights and devices."""
