"""Models in Hugging Face form: fetched, loaded, templated, exported."""
