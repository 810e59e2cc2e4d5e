"""Evaluation as a line of five steps; stages/evaluate.py walks it. To be read in this order:

1. items: what every model is asked
2. eval_models: which models and baselines are asked, each of them two calls (scoring) of a model trained here
   (scratch_model), of Hugging Face (hub_model) or of a baseline (baselines, ngram)
3. ask: likelihoods and generations of each model
4. measure: its figures, by perplexity, choice, text_metrics, exposure, uncertainty, plain_english, and llm.judge
5. figure_files: the figures as they stand in files; llm.runs.output_rows writes the outputs themselves

The pages and pictures are drawn from those files: result_table, samples, plots.
"""
