"""One module per stage of the DAG in dvc.yaml; stages meet only through files."""
