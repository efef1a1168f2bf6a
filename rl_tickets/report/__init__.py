"""From rows to tables, plots and TensorBoard; reads what an experiment stored, never trains."""
