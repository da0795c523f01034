"""llama.cpp behind the Backend protocol."""
