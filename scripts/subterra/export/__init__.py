"""From a Hugging Face folder to files that llama.cpp and Ollama run, and the proof that they say the same."""
