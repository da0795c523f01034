"""What a GGUF file says about itself, and what the engine can do with a model of its kind."""
