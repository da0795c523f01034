"""Reading the documents that people send: PDF, Word and text files become bounded text."""
