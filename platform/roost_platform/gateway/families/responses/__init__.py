"""OpenAI responses: items in and out, kept on request, told as events while they are written."""
