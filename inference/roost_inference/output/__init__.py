"""From logits to text: sampling, detokenizing and the events that listeners receive."""
