"""From logits to text: the next token, the grammar that restricts it, and whole characters."""
