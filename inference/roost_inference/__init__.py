"""The bundled inference core: an engine on llama.cpp's kernels and its HTTP wire."""
